"""Working memory: a conversation's hot state in Redis JSON, rebuilt from rows when Redis lost it (DESIGN 10).

A reader trusts the document only if it holds the turn before its own. So it may expire, be lost or be restored to an
older state at any moment: the rows say the same.
"""

from typing import Any, Literal, Self

import msgspec

from appliance.core import logs
from appliance.core.errors import StoreAway
from appliance.core.keys import Keys
from appliance.core.metrics import SESSION_SOURCES
from appliance.core.postgres import Postgres
from appliance.core.records import Turn
from appliance.core.redis import Redis, answering
from appliance.core.window import BYTES_A_TOKEN, MOST, Said, fit, tokens

log = logs.get("memory")
_READ = 2 * MOST
"""Messages that are read and kept: more than MOST only while summaries fail."""


class Summary(msgspec.Struct, frozen=True):
    """What stands for the turns up to `upto_turn`; `model` is empty for one that no model wrote."""

    upto_turn: int = 0
    text: str = ""
    model: str = ""


class SubAgent(msgspec.Struct, frozen=True):
    """One sub-agent of the running `/multi`; `output_key` is the id of its task, whose row holds the result."""

    status: str
    model: str = ""
    output_key: str = ""


class Past(msgspec.Struct, frozen=True):
    """What was said before a turn: in short, and word for word after that. `messages_count` counts all of it."""

    messages: tuple[Said, ...] = ()
    summary: Summary = Summary()
    messages_count: int = 0
    source: Literal["redis", "rows"] = "rows"

    @property
    def tokens(self) -> int:
        """About how much of a model's window it takes."""
        return sum(tokens(text) for text in (self.summary.text, *(it.text for it in self.messages)) if text)

    def with_turn(self, turn: Turn, answer: str) -> Self:
        """Return it as it is once `turn` was answered."""
        said = (Said("user", turn.text, turn.turn_no), Said("assistant", answer, turn.turn_no))
        return msgspec.structs.replace(
            self, messages=(*self.messages, *said), messages_count=self.messages_count + len(said)
        )


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """The seed's session document, whole."""

    conv_id: str
    user_id: str
    owner_agent: str
    """Who runs, or ran, the newest turn."""
    model: str = ""
    messages_count: int = 0
    recent_messages: tuple[Said, ...] = ()
    recent_after: int = 0
    """The messages of all turns after this one are in `recent_messages`, so the summary has to reach to it."""
    summary: Summary = Summary()
    active_tools: tuple[str, ...] = ()
    memory_context: str = ""
    """What was recalled from long-term memory for the newest turn."""
    sub_agents: dict[str, SubAgent] = {}
    token_estimate: int = 0
    ttl_seconds: int = 0
    updated_at: int = 0
    """Seconds, by Redis' clock."""
    version: tuple[int, int]
    """Turn and attempt of the last writer; an older one is refused. What has none is no session of ours."""
    answered_turn: int = 0
    """The last turn that is in here; a turn trusts the document only when this is the one before it."""

    def past(self) -> Past:
        """Return what it says was said."""
        after = self.summary.upto_turn
        messages = tuple(it for it in self.recent_messages if it.turn_no > after)
        return Past(messages, self.summary, self.messages_count, "redis")

    def knows(self, turn: Turn) -> bool:
        """Whether everything before `turn` is in here."""
        return self.answered_turn == turn.turn_no - 1 and self.summary.upto_turn >= self.recent_after


async def read_session(redis: Redis, conversation: str) -> Session | None:
    """Return a conversation's session, or None: it expired, was lost, or another version of Nexus wrote it.

    Raises:
        StoreAway: Redis does not answer.
    """
    async with answering("json.get"):
        found: Any = await redis.data.json().get(redis.keys.session(conversation))
    try:
        return msgspec.convert(found, Session) if found else None
    except msgspec.ValidationError as error:
        log.warning("session_unread", conversation=conversation, error=str(error))
        return None


async def standing_summary(postgres: Postgres, conversation: str) -> Summary:
    """Return the newest summary of a conversation, as its row says; an empty one when there is none. StoreAway."""
    row = await postgres.row("summary", conversation=conversation)
    return msgspec.convert(row, Summary) if row else Summary()


class WorkingMemory:
    """Load and keep sessions. `window`: tokens of the model's window, which bound what is kept."""

    def __init__(self, redis: Redis, postgres: Postgres, *, ttl_s: int, window: int) -> None:
        self._redis = redis
        self._postgres = postgres
        self._keys: Keys = redis.keys
        self._ttl_s = ttl_s
        self._window = window

    async def recall(self, turn: Turn) -> Past:
        """Return what was said before `turn`: from Redis if it knows all of it, else from rows.

        Raises:
            StoreAway: PostgreSQL was needed and does not answer.
        """
        if turn.turn_no == 1:
            return Past()
        try:
            session = await read_session(self._redis, turn.conversation_id)
        except StoreAway:
            session = None
        past = session.past() if session and session.knows(turn) else await self._from_rows(turn)
        SESSION_SOURCES.labels(past.source).inc()
        return past

    async def _from_rows(self, turn: Turn) -> Past:
        place = {"conversation": turn.conversation_id, "turn_no": turn.turn_no}
        known = await self._postgres.row("known_past", **place)
        if known is None:
            return Past()
        summary = Summary(known["upto_turn"], known["text"], known["model"])
        rows = await self._postgres.rows(
            "history", **place, upto_turn=summary.upto_turn, limit=_READ, bytes=self._window * BYTES_A_TOKEN
        )
        messages = tuple(Said(row["role"], row["text"], row["turn_no"]) for row in rows)
        return Past(messages, summary, known["messages"])

    async def begin(
        self, turn: Turn, past: Past, *, agent: str, tools: tuple[str, ...], memory_context: str = ""
    ) -> None:
        """Show that `agent` runs `turn` now, with these tools and memories.

        Raises:
            StoreAway: Redis does not answer; the end of the turn writes everything.
        """
        session = msgspec.structs.replace(
            self._session(turn, past, agent), active_tools=tools, memory_context=memory_context
        )
        if past.source == "rows":
            await self._write(turn, {"$": session})
        else:
            changed = ("owner_agent", "active_tools", "memory_context", "sub_agents", "version")
            await self._patch(turn, session, changed)

    async def note_team(self, turn: Turn, sub_agents: dict[str, SubAgent]) -> None:
        """Show how the sub-agents of `turn` stand; StoreAway as above."""
        await self._write(turn, {"$.sub_agents": sub_agents})

    async def remember(self, turn: Turn, past: Past, *, agent: str, model: str) -> None:
        """Keep the session as it is after `turn`, which `past` holds already; an older writer never wins.

        Raises:
            StoreAway: Redis does not answer; nothing is lost, the next turn reads rows.
        """
        session = msgspec.structs.replace(self._session(turn, past, agent), model=model, answered_turn=turn.turn_no)
        changed = (
            "owner_agent", "model", "messages_count", "recent_messages", "recent_after", "token_estimate",
            "ttl_seconds", "version", "answered_turn",
        )  # fmt: skip
        await self._patch(turn, session, changed)

    def _session(self, turn: Turn, past: Past, agent: str) -> Session:
        _, recent = fit(past.messages, "", self._window)
        return Session(
            conv_id=turn.conversation_id, user_id=turn.user_id, owner_agent=agent, summary=past.summary,
            messages_count=past.messages_count, recent_messages=recent[-_READ:], recent_after=past.summary.upto_turn,
            token_estimate=past.tokens, ttl_seconds=self._ttl_s, version=(turn.turn_no, turn.attempt),
            answered_turn=turn.turn_no - 1,
        )  # fmt: skip

    async def _patch(self, turn: Turn, session: Session, changed: tuple[str, ...]) -> None:
        """Write some fields; all of them when Redis has no session any more."""
        if not await self._write(turn, {f"$.{name}": getattr(session, name) for name in changed}):
            await self._write(turn, {"$": session})

    async def _write(self, turn: Turn, values: dict[str, Any]) -> bool:
        """Write values by their paths; False when there is no session to write into."""
        return await self._call(turn.conversation_id, "$.version", [turn.turn_no, turn.attempt], values)

    async def _call(self, conversation: str, guard: str, version: list[int], values: dict[str, Any]) -> bool:
        parts = [part for path, value in values.items() for part in (path, msgspec.json.encode(value))]
        answer = await self._redis.call(
            "patch_session",
            [self._keys.session(conversation)],
            [self._ttl_s, guard, msgspec.json.encode(version), *parts],
        )
        return int(answer) >= 0

    async def summarise(self, turn: Turn, made: Summary) -> Summary:
        """Keep a summary, unless there is one that reaches as far; return the one that stands, told to Redis as well.

        Raises:
            StoreAway: as far as nothing was kept, the next turn's end makes it again.
        """
        await self._postgres.rows(
            "keep_summary", conversation=turn.conversation_id, upto_turn=made.upto_turn, text=made.text,
            model=made.model, trace=turn.trace_id,
        )  # fmt: skip
        return await self.tell_summary(turn.conversation_id)

    async def tell_summary(self, conversation: str) -> Summary:
        """Bring the session in Redis, if there is one, to the summary that stands; return that. StoreAway."""
        stands = await standing_summary(self._postgres, conversation)
        if stands.upto_turn:
            await self._call(conversation, "$.summary.upto_turn", [stands.upto_turn], {"$.summary": stands})
        return stands
