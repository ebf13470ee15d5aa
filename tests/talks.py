"""Conversations whose turns are answered by the test, straight in the stores."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

from agent_image.runner.llm import ChatMessage
from agent_image.runner.turns.prompt import Window, build
from appliance.core.postgres import Postgres
from appliance.core.records import TaskState, Turn, User
from appliance.core.redis import Redis
from appliance.core.settings import Settings
from appliance.core.task_ledger import Answer, TaskLedger
from appliance.core.window import fit
from appliance.core.working_memory import Past, Session, WorkingMemory, read_session
from tests.stores import Stores

AGENT = "agent-1"
WINDOW = 2048
LONG = "Tell me more about the town of Ulm, please. " + "And so on. " * 40


NOBODY = "redis://127.0.0.1:1"


class Talk:
    """One conversation, and the memory of the agent that answers it."""

    def __init__(self, config: Settings) -> None:
        self.config = config
        self.redis, self.postgres = Redis(config), Postgres(config, application="test")
        self.memory = WorkingMemory(self.redis, self.postgres, ttl_s=60, window=WINDOW)
        self.ledger = TaskLedger(self.postgres, turn_timeout_s=60, max_queued=100)
        self.conversation, self.boot = str(uuid4()), str(uuid4())

    async def open(self) -> None:
        """Connect, and begin a boot."""
        await self.postgres.open()
        row = await self.postgres.row("ensure_user", tenant="t", name="ada", role="operator")
        assert row is not None
        self.user = User(id=str(row["id"]), name="ada", tenant_id="t")
        await self.ledger.register_boot(self.boot, AGENT)

    async def aclose(self) -> None:
        """Leave nothing behind."""
        await self.redis.data.delete(self.redis.keys.session(self.conversation))
        await self.redis.aclose()
        await self.postgres.aclose()

    async def session(self) -> Session:
        """Return the session as Redis holds it."""
        found = await read_session(self.redis, self.conversation)
        assert found is not None
        return found

    async def forget(self) -> None:
        """Let Redis lose it."""
        assert await self.redis.data.delete(self.redis.keys.session(self.conversation)) == 1

    async def ask(self, text: str) -> Turn:
        """Accept a message and claim its turn."""
        accepted = await self.ledger.accept(
            self.user, self.conversation, text, client_id=str(uuid4()), boot=self.boot, create=True
        )
        return accepted.turn

    async def end(self, turn: Turn, state: TaskState = TaskState.DONE, answer: str = "") -> None:
        """Commit a turn's end."""
        await self.ledger.end(turn, self.boot, Answer(state, answer), agent=AGENT)

    async def exchange(self, text: str = LONG, answer: str = "On the Danube. " * 10) -> Past:
        """Ask and answer, as an agent does; return what was said then."""
        turn = await self.ask(text)
        past = await self.memory.recall(turn)
        await self.memory.begin(turn, past, agent=AGENT, tools=("reminder",))
        await self.end(turn, answer=answer)
        past = past.with_turn(turn, answer)
        await self.memory.remember(turn, past, agent=AGENT, model="m")
        return past


@asynccontextmanager
async def talking(stores: Stores) -> AsyncIterator[Talk]:
    """A conversation in a database of its own."""
    made = Talk(await stores.with_own_database(redis_key_prefix="tmemory:"))
    await made.open()
    try:
        yield made
    finally:
        await made.aclose()


def prompt_of(past: Past, message: str) -> tuple[ChatMessage, ...]:
    """Return what a model would be told."""
    room = Window(WINDOW, 1024).room((), "", message)
    summary, messages = fit(past.messages, past.summary.text, room)
    return build(messages, summary, "", message)
