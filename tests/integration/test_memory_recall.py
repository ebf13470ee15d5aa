"""What a turn is told of its person: decided once, by numbers, and never waited for."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from agent_image.runner.memory.recall import AWAY, STEP, Bounds, Recall
from appliance.core.errors import StaleAttempt, StoreAway
from appliance.core.memory.items import Memory, Trust
from appliance.core.memory.ranking import Hit
from appliance.core.memory.search import Found
from appliance.core.metrics import MEMORY_RECALLS
from appliance.core.postgres import Postgres
from appliance.core.records import Turn, User
from appliance.core.settings import Settings
from tests.letters import Letters
from tests.memories import Rememberer

NEAR = 0.3


class Searched:
    """A search that finds what a test says; `held`: only once it is let go."""

    def __init__(self) -> None:
        self.finds: list[Memory] = []
        self.note = ""
        self.fails: Exception | None = None
        self.held: asyncio.Event | None = None
        self.asked: list[tuple[str, str, Sequence[Trust]]] = []
        self.ended = 0

    async def search(self, user: User, query: str, *, limit: int, trusts: Sequence[Trust]) -> Found:
        self.asked.append((user.id, query, trusts))
        if self.held:
            await self.held.wait()
        self.ended += 1
        if self.fails:
            raise self.fails
        return Found(tuple(Hit(it, NEAR, 1.0) for it in self.finds[:limit]), self.note)


class Turns:
    """Turns of one person who is remembered, and their recall."""

    def __init__(self, people: Rememberer, letters: Letters) -> None:
        self.people, self.letters, self.searched = people, letters, Searched()
        self.recall = self.recalling()

    def recalling(self, tokens: int = 300, within_s: float = 60.0) -> Recall:
        parts = (self.searched, self.people.store, self.letters.turns, self.letters.boot)
        return Recall(*parts, Bounds(tokens, NEAR, within_s))

    async def begin(self, text: str = "What do I drink?") -> Turn:
        return await self.letters.turn(text, by=self.people.ada.name)

    async def again(self) -> Turn:
        """The turn is lost and claimed again."""
        await self.letters.turns.release(self.letters.boot, turns_only=True)
        [turn] = await self.letters.turns.claim(self.letters.boot, 5)
        return turn

    async def steps(self) -> list[dict[str, Any]]:
        return await self.people.sql("select step_no, kind, name, state, result, input from steps")


@pytest.fixture
async def turns(config: Settings, postgres: Postgres) -> Turns:
    people, letters = Rememberer(config, postgres), Letters(postgres)
    await letters.open()
    people.ada = await letters.user("ada")
    return Turns(people, letters)


async def test_a_turn_is_told_what_its_message_finds_and_only_what_can_be_trusted_is_asked_for(turns: Turns) -> None:
    turns.searched.finds = [await turns.people.keep("I prefer tea")]
    turn = await turns.begin()
    recalled = await turns.recall.of(turn)
    assert [it.text for it in recalled.memories] == ["I prefer tea"]
    assert "I prefer tea" in recalled.quoted
    assert turns.searched.asked == [(turn.user_id, "What do I drink?", ("user", "agent"))]


async def test_each_turn_is_counted_once_by_what_it_was_told(turns: Turns) -> None:
    def counted() -> dict[str, float]:
        return {it: MEMORY_RECALLS.labels(it)._value.get() for it in ("memories", "nothing", "away")}

    before = counted()
    await turns.recall.of(await turns.begin())
    turns.searched.finds = [await turns.people.keep("I prefer tea")]
    await turns.recall.of(await turns.again())
    await turns.recall.of(await turns.begin("What do I drink now?"))
    turns.searched.fails = StoreAway()
    await turns.recall.of(await turns.begin("And now?"))
    assert {it: number - before[it] for it, number in counted().items()} == {"memories": 1, "nothing": 1, "away": 1}


async def test_a_later_attempt_is_told_the_same_whatever_is_found_by_then(turns: Turns) -> None:
    old = await turns.people.keep("I prefer tea")
    turns.searched.finds = [old]
    first = await turns.recall.of(await turns.begin())
    turns.searched.finds = [await turns.people.keep("I prefer coffee", 90)]
    await turns.people.store.correct(turns.people.ada, old, "I prefer cocoa", old.origin, vector=None, model="")
    second = await turns.recall.of(await turns.again())
    assert second.quoted == first.quoted
    assert second.facts() == first.facts()
    assert len(turns.searched.asked) == 1


async def test_a_note_stays_the_same_as_well(turns: Turns) -> None:
    turns.searched.fails = StoreAway()
    assert (await turns.recall.of(await turns.begin())).note == AWAY
    turns.searched.fails = None
    turns.searched.finds = [await turns.people.keep("I prefer tea")]
    later = await turns.recall.of(await turns.again())
    assert (later.note, later.memories) == (AWAY, ())


async def test_what_was_erased_between_two_attempts_is_told_no_more(turns: Turns) -> None:
    tea, dogs = await turns.people.keep("I prefer tea"), await turns.people.keep("I have two dogs", 90)
    turns.searched.finds = [tea, dogs]
    await turns.recall.of(await turns.begin())
    await turns.people.store.erase(turns.people.ada, tea.id, by="ada")
    later = await turns.recall.of(await turns.again())
    assert [it.text for it in later.memories] == ["I have two dogs"]


async def test_the_ledger_keeps_numbers_and_no_texts(turns: Turns) -> None:
    tea = await turns.people.keep("I prefer tea")
    turns.searched.finds = [tea]
    await turns.recall.of(await turns.begin())
    [step] = await turns.steps()
    assert (step["step_no"], step["state"]) == (STEP, "done")
    assert step["result"] == {"memories": [tea.id], "note": ""}
    assert step["input"] is None


async def test_a_search_that_takes_too_long_is_not_waited_for_and_not_cut_off(turns: Turns) -> None:
    turns.searched.held = asyncio.Event()
    hasty = turns.recalling(within_s=0.1)
    recalled = await hasty.of(await turns.begin())
    assert (recalled.note, recalled.memories, turns.searched.ended) == (AWAY, (), 0)
    turns.searched.held.set()
    await asyncio.gather(*hasty._patience.late)
    assert turns.searched.ended == 1


@pytest.mark.parametrize("error", [StoreAway(), RuntimeError("a bug")])
async def test_a_search_that_fails_fails_no_turn(turns: Turns, error: Exception) -> None:
    turns.searched.fails = error
    assert (await turns.recall.of(await turns.begin())).facts() == {"memory_note": AWAY}


async def test_a_search_without_meaning_says_so(turns: Turns) -> None:
    turns.searched.note = "Searched by words only: the embedding server does not answer."
    assert (await turns.recall.of(await turns.begin())).note == AWAY


async def test_without_tokens_nothing_is_searched_nor_journaled(turns: Turns) -> None:
    turns.searched.finds = [await turns.people.keep("I prefer tea")]
    assert (await turns.recalling(tokens=0).of(await turns.begin())).facts() == {}
    assert (turns.searched.asked, await turns.steps()) == ([], [])


async def test_only_what_has_room_is_told(turns: Turns) -> None:
    turns.searched.finds = [await turns.people.keep("word " * 300), await turns.people.keep("I prefer tea", 90)]
    recalled = await turns.recalling(tokens=130).of(await turns.begin())
    assert [it.text for it in recalled.memories] == ["I prefer tea"]


async def test_an_attempt_that_was_overtaken_is_told_nothing(turns: Turns) -> None:
    first = await turns.begin()
    await turns.again()
    with pytest.raises(StaleAttempt):
        await turns.recall.of(first)


async def test_an_attempt_that_is_overtaken_while_it_searches_decides_nothing(turns: Turns) -> None:
    turns.searched.held = asyncio.Event()
    turns.searched.finds = [await turns.people.keep("I prefer tea")]
    searching = asyncio.create_task(turns.recall.of(await turns.begin()))
    while not turns.searched.asked:
        await asyncio.sleep(0)
    second = await turns.again()
    await turns.letters.turns.begin_step(second, turns.letters.boot, STEP, kind="tool", name="x", input_text="")
    turns.searched.held.set()
    with pytest.raises(StaleAttempt):
        await searching
