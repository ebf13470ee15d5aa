"""Workers that die or stop in the middle of a turn, and turns that get into each other's way."""

import asyncio
import signal
from contextlib import suppress
from uuid import uuid4

from appliance.core.clock import monotonic
from appliance.core.errors import StaleAttempt
from appliance.core.postgres import Postgres
from appliance.core.records import Agent, TaskState, User
from appliance.core.task_ledger import Answer, TaskLedger
from tests.faults.chat import ask
from tests.faults.rows import Bound, row
from tests.faults.scene import Scene, send, state
from tests.faults.steady import story
from tests.waiting import wait_until

PAUSES_S = (30.0, 10.0)
"""Of the first run and of the others: behind the moment of burial a longer pause changes nothing."""
AT_ONCE = 12
MEETINGS = 20


@row(
    "F21", "worker SIGKILLed in mid turn; again between the answer's journal and its commit",
    "runs again < 1 s; one result; a finished step is not called again",
    bounds={"rerun_s": Bound(max=1.0)}, elections=0,
)  # fmt: skip
async def f21(scene: Scene) -> None:
    worker, other = await scene.secondaries()
    chat = await scene.chat(worker)
    began = await scene.kill(worker.keeper_pid, worker.runner_pid)
    await chat.ended()
    scene.measure(rerun_s=chat.restarted_at - began)
    await scene.hush()
    armed = await scene.arm(other, "before_commit:kill")
    paid = await scene.chat(armed, f"paid {scene.number} [[tokens=40 delay=10ms]]")
    assert (await paid.ended()).events[-1]["attempt"] == 2
    assert len(await scene.cluster.provider.calls(paid.asked.text)) == 1, "the model was asked, and paid, twice"


@row(
    "F22", "a worker paused 30 s in mid turn, another one between its answer and its commit",
    "both turns run again after 3-4 s; the commit and the events of the zombies are refused",
    bounds={"rerun_s": Bound(max=4.0)}, elections=0,
)  # fmt: skip
async def f22(scene: Scene) -> None:
    await scene.hush()
    worker, other = await scene.secondaries()
    armed = await scene.arm(other, "before_commit:stop")
    late = await scene.chat(armed, f"late {scene.number} [[tokens=20 delay=10ms]]")
    chat = await scene.chat(worker, story(8))  # long: its tab may try the stopped agent first
    await stopped(armed)
    send(signal.SIGSTOP, armed.keeper_pid)
    began = await scene.freeze(worker)
    for it, owner in ((chat, worker), (late, armed)):
        last = (await it.ended()).events[-1]
        assert last["attempt"] > 1, f"the turn on {owner.id} was not run again: {it.first('started')}, {last}"
    scene.measure(rerun_s=chat.restarted_at - began)
    await asyncio.sleep(began + PAUSES_S[scene.number > 0] - monotonic())
    before = await entries(scene, chat.asked.conversation)
    send(signal.SIGCONT, armed.runner_pid)  # its keeper would kill it for having been buried: it gets its chance
    await wait_until(lambda: refusals(scene, armed), of="a refused commit")
    scene.thaw(worker)

    async def new_life() -> bool:
        now = await scene.cluster.agent(worker.id)
        return now.boot != worker.boot and now.status == "active"

    await wait_until(new_life, of="a new boot of the paused worker")
    assert await entries(scene, chat.asked.conversation) == before, "a zombie's words were heard"


async def stopped(agent: Agent) -> None:
    """Return when a runner has reached its failpoint."""

    async def is_stopped() -> bool:
        return state(agent.runner_pid) == "T"

    await wait_until(is_stopped, of="a runner at its failpoint")


async def refusals(scene: Scene, agent: Agent) -> bool:
    """Whether a commit of this boot was turned away."""
    async with scene.cluster.sql() as sql:
        found = await sql.execute("select 1 from refusals where what = 'end_turn' and boot = %s", [agent.boot])
        return await found.fetchone() is not None


async def entries(scene: Scene, conversation: str) -> int:
    """Return how many events a conversation has."""
    return int(await scene.cluster.redis.data.xlen(scene.cluster.redis.keys.events(conversation)))


@row(
    "F23", "worker SIGKILLed between its commit and the event `done` (between claim and XACK: F23t)",
    "the missing event is appended, one result", bounds={"done_s": Bound(max=3.0)}, elections=0,
)  # fmt: skip
async def f23(scene: Scene) -> None:
    await scene.hush()
    armed = await scene.arm(await scene.secondary(), "after_commit_before_done_event:kill")
    chat = await scene.chat(armed, f"unsaid {scene.number} [[tokens=40 delay=10ms]]")
    await chat.ended()
    assert chat.events[-1]["attempt"] == 1, "the committed turn was run again"
    last_word = max(event["at"] for event in chat.events if event["type"] == "token")
    scene.measure(done_s=chat.events[-1]["at"] - last_word)


@row(
    "F36", f"{AT_ONCE} accepts at once on one busy conversation, then its owner SIGKILLed; {MEETINGS} releases that"
    " meet a turn's end (children: once there are some)",
    "no lost wake-up, no deadlock seen by a user", elections=0,
)  # fmt: skip
async def f36(scene: Scene) -> None:
    worker = await scene.secondary()
    chat = await scene.chat(worker)
    said = [
        ask(scene.person, chat.asked.conversation, f"{number} [[tokens=3]]", scene.acknowledged.append)
        for number in range(AT_ONCE)
    ]
    await asyncio.gather(*said)
    await scene.kill(worker.keeper_pid, worker.runner_pid)
    await chat.ended()
    await meetings(scene)


async def meetings(scene: Scene) -> None:
    """Let a turn's end and the release of its boot begin at once; whoever is first, the turn behind it is woken."""
    own = await scene.cluster.stores.with_own_database()
    postgres = Postgres(own, application="test")
    await postgres.open()
    try:
        row = await postgres.row("ensure_user", tenant="default", name="ada", role="operator")
        assert row is not None
        user = User(id=str(row["id"]), name="ada")
        for _ in range(MEETINGS):
            await meet(TaskLedger(postgres, turn_timeout_s=60, max_queued=1000), user)
    finally:
        await postgres.aclose()


async def meet(ledger: TaskLedger, user: User) -> None:
    """Let one turn's end meet the release of its boot; another one of its conversation waits behind it."""
    boot, conversation = str(uuid4()), str(uuid4())
    await ledger.register_boot(boot, "agent-1")
    first, second = [
        (await ledger.accept(user, conversation, text, client_id=text, boot=boot, create=True)).turn
        for text in ("first", "second")
    ]

    async def end() -> None:
        with suppress(StaleAttempt):
            await ledger.end(first, boot, Answer(TaskState.DONE, "answer", meta={"attempt": 1}), agent="agent-1")

    async def release() -> None:
        await ledger.bury(boot, "a test")
        await ledger.release(boot, turns_only=False)

    await asyncio.gather(end(), release())
    states = [found.state for turn in (first, second) if (found := await ledger.turn(turn.id)) is not None]
    ended, released = [TaskState.DONE, TaskState.QUEUED], [TaskState.QUEUED, TaskState.WAITING]
    assert states in (ended, released), states
