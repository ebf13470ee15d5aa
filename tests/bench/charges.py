"""The part of the storm that nobody may repeat unasked: turns that call a tool with side effects, and their people.

Each turn charges at a till outside, in the middle of the call's time. A call that is cut off between its beginning and
its end is in doubt and becomes a question; its person looks at the till and answers one of what is offered: it
happened, do it again, or leave it. The till knows each key and how often it was charged under it.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from uuid import uuid4

import httpx2
import msgspec

from tests.asked import tool_directive
from tests.client import Client
from tests.cluster import Cluster
from tests.fakes.payments import Payments
from tests.faults.facts import ENDED, Facts

T = TypeVar("T")
PEOPLE = 12
"""Each has one turn at a time."""
LENGTH_S = 1.0
LOOK_S, AGAIN_S = 0.2, 0.5
LEAVE_IT, ONCE_MORE = 0.1, 0.2
"""How often a person leaves a call in doubt as it is; how often one wants again what has happened."""
DOUBTS = """
create table doubts(task_id uuid not null, step_no int not null, attempt int not null);
create function note_doubt() returns trigger language plpgsql as $$
begin
  insert into doubts values (new.task_id, new.step_no, new.attempt);
  return null;
end $$;
create trigger note_doubt after update of state on steps for each row
  when (old.state = 'intent' and new.state = 'unknown') execute function note_doubt();
"""
"""Every call whose outcome became unknown, kept in the transaction that says so."""
OPEN = """
select a.id, a.conversation_id as conversation, s.idem_key as key from approvals a
  join steps s on s.task_id = a.task_id and s.step_no = a.step_no where a.answer is null
"""
COUNTED = """
select (select count(*) from doubts) as unknown, (select count(*) from approvals) as questions,
       (select count(*) from doubts d join tasks t on t.id = d.task_id and t.state = 'done'
         where not exists(select 1 from approvals a
                           where a.task_id = d.task_id and a.step_no = d.step_no and a.about = d.attempt)) as unasked
"""


class Answer(msgspec.Struct, frozen=True):
    """What a person said, having seen so many charges at the till."""

    choice: str
    seen: int


class Call(msgspec.Struct, frozen=True):
    """What became of one turn's call in the end: how often the till was charged, and what its person said, in order."""

    made: int
    answers: tuple[Answer, ...]
    done: bool
    """Whether its turn was done; else it ended visibly without an answer."""

    @property
    def repeated_unasked(self) -> int:
        """Charges beyond the first that nobody asked for."""
        return max(0, self.made - 1 - sum(it.choice == "again" for it in self.answers))

    @property
    def lost(self) -> bool:
        """Whether it, or the repetition that was asked for, was not made although its person did not leave it."""
        left = bool(self.answers) and self.answers[-1].choice == "skip"
        return self.done and not left and self.made < wanted(self.answers)


def wanted(answers: Sequence[Answer]) -> int:
    """Return how many charges there are to be after these answers: the first, or one more than was seen. Pure."""
    return next((it.seen + 1 for it in reversed(answers) if it.choice == "again"), 1)


def choice_of(made: int, answers: Sequence[Answer], lot: random.Random) -> str:
    """Return what a person answers who sees `made` charges at the till and has answered this before. Pure."""
    if lot.random() < LEAVE_IT:
        return "skip"
    return "happened" if made >= wanted(answers) and lot.random() >= ONCE_MORE else "again"


class Charges:
    """Turns of several people, asked one after the other, and what these answer."""

    def __init__(self, cluster: Cluster, facts: Facts, till: Payments, lot: random.Random) -> None:
        self._cluster = cluster
        self._facts = facts
        self._till = till
        self._lot = lot
        self._people: dict[str, Client] = {}
        """By conversation."""
        self._open: dict[str, asyncio.Future[None]] = {}
        self.turns: list[str] = []
        self.answers: dict[str, list[Answer]] = {}
        """By key, as they counted."""

    async def run(self, count: int) -> None:
        """Let people ask so often in all; return when every turn has ended."""
        looking = asyncio.create_task(self._look())
        everybody = asyncio.gather(
            *(self._person(f"payer {no}", count // PEOPLE + (no < count % PEOPLE)) for no in range(PEOPLE))
        )
        try:
            await asyncio.wait((looking, everybody), return_when=asyncio.FIRST_COMPLETED)
            if looking.done():
                looking.result()
            await everybody
        finally:
            looking.cancel()
            everybody.cancel()

    async def _person(self, name: str, count: int) -> None:
        _, token = await self._cluster.sign_in(name)
        client = Client(self._cluster.url, token)
        for _ in range(count):
            conversation, client_id = str(uuid4()), str(uuid4())
            self._people[conversation] = client
            text = f"Charge {client_id} " + tool_directive("charge", seconds=LENGTH_S)
            said = await insist(lambda: client.send(conversation, text, client_id=client_id, create=True))  # noqa: B023
            self.turns.append(said["turn"])
            self._open[said["turn"]] = asyncio.get_running_loop().create_future()
            await self._open[said["turn"]]
        await client.aclose()

    async def _look(self) -> None:
        """Answer what is asked and note what has ended, again and again."""
        query = "select id from tasks where id = any(%(ids)s) and state = any(%(ended)s)"
        while True:
            for row in await self._facts.rows(query, ids=list(self._open), ended=list(ENDED)):
                self._open.pop(str(row["id"])).set_result(None)
            await asyncio.gather(*(self._answer(**row) for row in await self._facts.rows(OPEN)))
            await asyncio.sleep(LOOK_S)

    async def _answer(self, id: object, conversation: object, key: str) -> None:
        answers = self.answers.setdefault(key, [])
        seen = self._till.asked[key]
        given = {"answer": choice_of(seen, answers, self._lot)}
        path = f"/api/v1/conversations/{conversation}/questions/{id}"
        http = self._people[str(conversation)].http
        said = await insist(lambda: _accepted(http.post(path, json=given)))
        answers.append(Answer(said["answer"], seen))

    async def figures(self) -> dict[str, Any]:
        """Return what came of all of it, and what was wrong."""
        calls = await self._calls()
        [rows] = await self._facts.rows(COUNTED)
        answered = Counter(it.choice for call in calls for it in call.answers)
        return {
            "turns": len(calls), "turns_done": sum(call.done for call in calls),
            "calls": sum(call.made for call in calls), **rows, "answered": dict(answered),
            "repeated_as_asked": sum(max(0, call.made - 1) - call.repeated_unasked for call in calls),
            "repeated_unasked": sum(call.repeated_unasked for call in calls),
            "lost": sum(call.lost for call in calls),
            "foreign": len(self._till.asked.keys() - {f"{turn}:2" for turn in self.turns}),
        }  # fmt: skip

    async def _calls(self) -> list[Call]:
        """Return each turn's call: its second step, since the first is the model that asks for it."""
        query = "select id, state from tasks where id = any(%(ids)s)"
        rows = await self._facts.rows(query, ids=self.turns)
        return [
            Call(self._till.asked[key], tuple(self.answers.get(key, ())), row["state"] == "done")
            for row in rows
            for key in [f"{row['id']}:2"]
        ]


async def insist(step: Callable[[], Awaitable[T]]) -> T:
    """Repeat a request that bears it until somebody answers it."""
    while True:
        try:
            return await step()
        except (httpx2.HTTPError, AssertionError):
            await asyncio.sleep(AGAIN_S)


async def _accepted(sent: Awaitable[httpx2.Response]) -> dict[str, Any]:
    return dict((await sent).raise_for_status().json())


def wrong(figures: dict[str, Any]) -> list[str]:
    """Return what of these figures must not be. Pure."""
    must_be_0 = ("repeated_unasked", "lost", "unasked", "foreign")
    said = [f"{figures[name]} calls with side effects are {name}" for name in must_be_0 if figures[name]]
    answered = sum(figures["answered"].values())
    return said + ([f"{figures['questions']} questions, {answered} answers"] if answered > figures["questions"] else [])
