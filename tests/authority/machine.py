"""A state machine over authority and work, on real Redis and PostgreSQL (FAULTS, layer L2).

Hypothesis plays three agents that do whatever they like: the steps are the product's own, none of its good manners are
(no table is asked, no vote is waited for), since safety must rest on the stores alone. What a boot once held it may use
at any later time, dead or deposed: its epoch, its attempts. After every step I1, I4, I6, I7 and I14 are read from the
stores, I2 is checked at every fenced write, and at the end everything accepted is brought to its end.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple
from uuid import uuid4

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from appliance.core.clock import monotonic
from appliance.core.errors import NoGeneration, StaleAttempt, StaleEpoch
from appliance.core.records import Agent, Status, TaskState, Turn, User
from appliance.core.redis import new_generation
from appliance.core.settings import Settings
from appliance.core.task_ledger import Answer
from tests.authority.world import World, heedless

NAMES = ("a", "b", "c")
AGENTS, PICKS = st.sampled_from(NAMES), st.integers(0, 999)
BACK, DEAD = st.sampled_from((0, 0, 0, 1, 2)), st.sampled_from((False, False, False, True))


class Held(NamedTuple):
    """An epoch a boot won once; it may act on it for ever, and must be refused from the next epoch on."""

    agent: str
    boot: str
    epoch: int


class Authority(RuleBasedStateMachine):
    """Any order of what agents can do to the stores."""

    def __init__(self, runner: asyncio.Runner, config: Settings) -> None:
        super().__init__()
        self.world = World(runner, config)
        self.do = self.world.do
        self.ada: User = self.do(self.world.open())
        self.boots: dict[str, str] = {}
        self.buried: list[str] = []
        self.held: list[Held] = []
        self.attempts: list[tuple[Turn, str]] = []
        self.accepted: set[str] = set()
        self.committed: dict[str, int] = {}
        self.floor = 0
        self.won_at, self.served = -1e9, True
        for name in NAMES:
            self.start(name)
            self.beat(name, can_vote=True)

    # Life -------------------------------------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        self.boots[name] = str(uuid4())
        self.do(self.world.ledger.register_boot(self.boots[name], name))

    def boot_of(self, name: str, dead: bool) -> str:
        """Return an agent's boot, or one that was buried before and does not know it."""
        return self.buried[-1] if dead and self.buried else self.boots[name]

    @rule(name=AGENTS, can_vote=st.booleans())
    def beat(self, name: str, can_vote: bool) -> None:
        agent = Agent(id=name, boot=self.boots[name], status=Status.ACTIVE, can_vote=can_vote)
        if self.do(self.world.registry.beat(agent)).generation is None:
            epoch = self.do(self.world.election.current()).number
            self.do(self.world.registry.initialise(new_generation(), epoch))

    @rule(
        name=AGENTS,
        kind=st.sampled_from(("death", "seconds pass", "death", "older Redis", "seconds pass", "empty Redis")),
    )
    def misfortune(self, name: str, kind: str) -> None:
        match kind:
            case "death":
                self.die_and_start_again(name)
            case "empty Redis":
                self.do(self.world.flush())
                self.floor = 0
            case "older Redis":
                self.do(self.world.fall_back())
                self.floor = 0
            case _:  # the lease runs out, and so does a winner's second
                self.do(self.world.redis.data.delete(self.world.redis.keys.primary))
                self.do(self.world.sql("update cluster_epoch set elected_at = elected_at - interval '5 seconds'"))
                self.won_at = -1e9

    def die_and_start_again(self, name: str) -> None:
        """The boot is buried and its work released; it may go on as a zombie."""
        boot = self.boots[name]
        self.do(self.world.ledger.bury(boot, "machine"))
        self.do(self.world.ledger.release(boot, turns_only=False))
        self.do(self.world.registry.leave(name, boot, on_purpose=False))
        self.buried.append(boot)
        self.start(name)

    # Authority --------------------------------------------------------------------------------------------------------

    @rule(name=AGENTS, back=BACK)
    def vote_and_count(self, name: str, back: int) -> None:
        """Votes against an epoch, perhaps one long gone, decide nothing by themselves."""
        term = self.do(self.world.election.current())
        epoch, suspect = max(0, term.number - back), term.primary_id or ""
        vote = self.world.election.vote(name, self.boots[name], epoch=epoch, suspect=suspect, evidence="lease")
        self.do(heedless(vote))
        tally = self.do(
            heedless(self.world.election.may_elect(epoch=epoch, seq=0, suspect=suspect, evidence="lease", held_s=0))
        )
        if tally is not None:
            assert suspect not in tally.voters
            assert tally.verdict != "yes" or len(tally.voters) >= tally.quorum >= 1

    @rule(name=AGENTS, back=BACK, serves=st.sampled_from((True, True, False)), dead=DEAD)
    def stand(self, name: str, back: int, serves: bool, dead: bool) -> None:
        """Try the compare-and-set with votes for this epoch or for one before."""
        before, boot = self.do(self.world.election.current()), self.boot_of(name, dead)
        voted, began = max(0, before.number - back), monotonic()
        won = self.do(self.world.election.elect(name, boot, voted=voted, evidence={"kind": "lease"}))
        if boot in self.buried or (voted < before.number and (self.served or monotonic() - self.won_at < 1)):
            assert won is None, "elected although buried, or against a winner that serves or has not had its second"
        elif voted == before.number:
            assert won == before.number + 1, "votes for the term in force elect"
        if won is not None:
            self.held.append(Held(name, boot, won))
            self.won_at, self.served = began, serves
        if won is not None and serves:
            self.do(heedless(self.world.election.install(name, boot, won)))
            self.do(self.world.election.record_promotion(won, boot, elect_ms=1, promote_ms=1))

    @precondition(lambda self: self.held)
    @rule(pick=PICKS, step=st.sampled_from(("install", "tell", "renew", "install", "reassert", "release")))
    def act_in_redis(self, pick: int, step: str) -> None:
        """Whoever was primary once does in Redis what a primary does."""
        it, election = self.held[pick % len(self.held)], self.world.election
        if step == "tell":
            overtaken = it.epoch < self.floor
            with suppress(StaleEpoch, NoGeneration):
                self.do(election.tell(it.epoch, {"type": "routing"}))
                assert not overtaken, "a deposed primary told something"
        elif step == "release":
            self.do(heedless(election.release(it.agent, it.boot, it.epoch, successor="", kind="child")))
        else:
            self.do(heedless(getattr(election, step)(it.agent, it.boot, it.epoch)))

    @precondition(lambda self: self.held)
    @rule(pick=PICKS, sweep=st.sampled_from(("sweep_dead", "sweep_waiting")))
    def act_in_postgresql(self, pick: int, sweep: str) -> None:
        """I2: a fenced write succeeds exactly in the term in force."""
        it = self.held[pick % len(self.held)]
        in_force = self.do(self.world.election.current()).number == it.epoch
        try:
            self.do(getattr(self.world.ledger, sweep)(it.epoch, it.boot))
            assert in_force, "a deposed primary wrote"
        except StaleEpoch:
            assert not in_force

    # Work -------------------------------------------------------------------------------------------------------------

    @rule(conversation=st.integers(0, 2), client_id=st.integers(0, 7), name=st.sampled_from((None, *NAMES)),
          dead=DEAD)  # fmt: skip
    def accept(self, conversation: int, client_id: int, name: str | None, dead: bool) -> None:
        """A message; with the same id it may have been sent before."""
        boot = self.boot_of(name, dead) if name else None
        accepted = self.do(self.world.ledger.accept(
            self.ada, f"00000000-0000-4000-8000-00000000000{conversation}", f"text {client_id}",
            client_id=str(client_id), boot=boot, create=True,
        ))  # fmt: skip
        assert accepted.duplicate is (accepted.turn.id in self.accepted)
        self.accepted.add(accepted.turn.id)
        if boot and not accepted.duplicate and accepted.turn.state is TaskState.RUNNING:
            self.attempts.append((accepted.turn, boot))

    @rule(name=AGENTS, limit=st.integers(1, 3), dead=DEAD)
    def claim(self, name: str, limit: int, dead: bool) -> None:
        boot = self.boot_of(name, dead)
        for turn in self.do(self.world.ledger.claim(boot, limit)):
            self.attempts.append((turn, boot))

    @rule(name=AGENTS)
    def fall_silent(self, name: str) -> None:
        """Its turns are handed on, it lives."""
        self.do(self.world.ledger.release(self.boots[name], turns_only=True))

    @precondition(lambda self: self.attempts)
    @rule(pick=PICKS, step=st.sampled_from(("end", "end", "retry", "begin_step")))
    def finish(self, pick: int, step: str) -> None:
        """Any attempt that ever ran does what only the current one may, a zombie's among them (I7)."""
        turn, boot = self.attempts[pick % len(self.attempts)]
        row = self.do(self.world.ledger.turn(turn.id))
        current = (row.state, row.attempt, row.owner_boot) == (TaskState.RUNNING, turn.attempt, boot)
        ledger = self.world.ledger
        steps: dict[str, Callable[[], Awaitable[Any]]] = {
            "end": lambda: ledger.end(turn, boot, Answer(TaskState.DONE, f"by {turn.attempt}"), agent="a"),
            "retry": lambda: ledger.retry(turn, boot, reason="machine", delay_s=0),
            "begin_step": lambda: ledger.begin_step(turn, boot, 1, kind="model", name="m", input_text=""),
        }
        try:
            self.do(steps[step]())
            assert current, f"a late {step} was not refused"
        except StaleAttempt:
            assert not current
        if current and step == "end":
            assert turn.id not in self.committed
            self.committed[turn.id] = turn.attempt

    # What must hold ---------------------------------------------------------------------------------------------------

    @invariant()
    def epochs_are_gapless_and_redis_knows_none_later(self) -> None:
        """I1, I4."""
        term = self.do(self.world.election.current())
        rows = self.do(self.world.sql("select epoch, new_boot from failovers order by epoch"))
        assert [(row["epoch"], str(row["new_boot"])) for row in rows] == [(it.epoch, it.boot) for it in self.held]
        assert [it.epoch for it in self.held] == list(range(1, term.number + 1))
        view = self.do(self.world.registry.view())
        assert view.epoch <= term.number
        assert view.lease is None or view.epoch <= view.lease.epoch <= term.number
        assert view.epoch >= self.floor, "the epoch in Redis fell"
        self.floor = view.epoch

    @invariant()
    def nothing_accepted_is_lost_or_answered_twice(self) -> None:
        """I6, I7, I14."""
        turns = self.do(self.world.sql(
            "select t.id, t.conversation_id, t.turn_no, t.state, t.attempt, b.dead_at from tasks t"
            " left join boots b on b.boot = t.owner_boot order by t.conversation_id, t.turn_no"
        ))  # fmt: skip
        assert {str(row["id"]) for row in turns} == self.accepted
        assert all(row["dead_at"] is None for row in turns), "a dead boot owns a turn"
        numbers: dict[str, list[int]] = {}
        for row in turns:
            numbers.setdefault(row["conversation_id"], []).append(row["turn_no"])
        assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())
        done = {str(row["id"]): row["attempt"] for row in turns if row["state"] == "done"}
        assert done == self.committed
        answers = self.do(self.world.sql("select task_id, text from messages where role = 'assistant'"))
        assert {str(row["task_id"]): row["text"] for row in answers} == {k: f"by {n}" for k, n in done.items()}

    def check(self) -> None:
        """Check by hand what Hypothesis checks after every step."""
        self.epochs_are_gapless_and_redis_knows_none_later()
        self.nothing_accepted_is_lost_or_answered_twice()

    def teardown(self) -> None:
        """Let everybody fall silent and one boot do what is left: all that was accepted ends done."""
        try:
            for name in NAMES:
                self.fall_silent(name)
            for _ in range(len(self.accepted) + 1):
                self.claim("a", 3, dead=False)
                for pick in range(len(self.attempts)):
                    self.finish(pick, "end")
            assert set(self.committed) == self.accepted
        finally:
            self.do(self.world.aclose())
