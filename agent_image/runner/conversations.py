"""What people do with conversations: one function each, shared by page, JSON API and sockets."""

from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import UUID, uuid4

import msgspec

from agent_image.runner import checked
from agent_image.runner.checked import MAX_TITLE
from agent_image.runner.commands.commands import Commands
from agent_image.runner.feed import Feed
from agent_image.runner.hub import Hub
from agent_image.runner.neighbours import Neighbours
from agent_image.runner.route import Here, route
from agent_image.runner.turns.announcer import acceptance, told_by
from agent_image.runner.turns.intake import Intake
from agent_image.runner.turns.turn import last_word
from appliance.core import event_bus, logs
from appliance.core.approvals import Approval, Approvals
from appliance.core.conversation_events import ConversationEvents
from appliance.core.errors import (
    BadInput,
    Conflict,
    Leaving,
    NoAttempt,
    NotFound,
    StaleAttempt,
    StoreAway,
    TooFewAgents,
)
from appliance.core.metrics import TURNS_ACCEPTED
from appliance.core.postgres import Postgres, Row
from appliance.core.records import Accepted, Conversation, Event, Message, TaskState, Turn, User
from appliance.core.redis import Redis
from appliance.core.task_ledger import Answer, TaskLedger, turn_of

log = logs.get("runner")
SHOWN = 500
"""Messages a page shows; older ones stay in the rows."""


class Transcript(msgspec.Struct, frozen=True):
    """A conversation as a page shows it, and the cursor from which its events go on."""

    conversation: Conversation
    messages: tuple[Message, ...]
    unfinished: tuple[Turn, ...]
    ended_badly: tuple[Turn, ...]
    cursor: str
    questions: tuple[Approval, ...] = ()
    """What its user is asked now, the oldest first."""


class Conversations:
    """The service behind every face of the chat."""

    def __init__(
        self, redis: Redis, postgres: Postgres, ledger: TaskLedger, intake: Intake, hub: Hub, neighbours: Neighbours,
        commands: Commands, approvals: Approvals,
    ) -> None:  # fmt: skip
        self._redis = redis
        self._postgres = postgres
        self._ledger = ledger
        self._intake = intake
        self._hub = hub
        self._neighbours = neighbours
        self._commands = commands
        self._approvals = approvals
        self._agent = intake.agent
        self._events = ConversationEvents(redis)

    async def accept(
        self, user: User, conversation: str, text: str, *, client_id: str, create: bool = False
    ) -> Accepted:
        """Commit a message and its turn, and run it here if a slot is free (DESIGN part 6).

        Raises:
            BadInput: empty or unreadable. TooLarge: above MAX_TEXT. NotFound, Overloaded, TooFewAgents.
            StoreAway: nothing was accepted; sending it again with the same `client_id` is safe.
        """
        text, client_id = checked.text_of(text), checked.client_id_of(client_id) or str(uuid4())
        if create:
            await self._check_may_begin(user, conversation)
        role = checked.role_of(text)
        self._commands.check(text)
        way = route(role, self._here())
        boot = self._intake.reserve() if way.way == "direct" else None
        turn: Turn | None = None
        try:
            accepted = await self._ledger.accept(
                user, _uuid(conversation), text, client_id=client_id, boot=boot, create=create, role=role
            )
            if not accepted.duplicate:
                turn = accepted.turn if accepted.turn.state is TaskState.RUNNING else None
                accepted = msgspec.structs.replace(accepted, cursor=await self._tell_accepted(accepted))
        finally:
            if boot is not None:
                self._intake.settle(turn)
        if not accepted.duplicate:
            TURNS_ACCEPTED.labels("waiting" if way.way == "direct" and turn is None else way.way).inc()
            log.info("turn_accepted", turn=accepted.turn.id, route=way.way, reason=way.reason)
        return accepted

    def _here(self) -> Here:
        intake = self._intake
        return Here(leads=intake.leads(), sees_redis=not self._hub.away, takes=intake.takes, free=intake.free)

    async def _check_may_begin(self, user: User, conversation: str) -> None:
        """Return if the conversation is there already or a new one may begin; TooFewAgents otherwise."""
        if why := self._neighbours.why_no_new_conversation():
            try:
                await self.find(user, conversation)
            except NotFound:
                raise TooFewAgents(why) from None

    async def _tell_accepted(self, accepted: Accepted) -> str:
        """Tell open pages and return the cursor before this news.

        The row is committed, so a failure here loses nothing: the attempt's first event says the same. A store that is
        known to be away is not waited for: a page gives up sooner and asks another agent.
        """
        turn = accepted.turn
        if self._hub.away:
            return ""
        first = acceptance(turn, accepted.message_id, queued=turn.state is not TaskState.RUNNING)
        try:
            opened = await self._events.open_attempt(turn.conversation_id, turn.id, 0, agent="", first=first)
            return opened.cursor
        except StaleAttempt:  # another agent was faster to begin than this one to tell
            return await self._start_of(turn.conversation_id, turn.id)
        except StoreAway as error:
            log.info("accepted_untold", turn=turn.id, error=str(error))
            return ""

    async def cancel(self, user: User, conversation: str, turn_id: str) -> TaskState:
        """Stop a turn: by a durable flag and a hint, wherever it runs. NotFound for another's."""
        await self.find(user, conversation)
        turn = await self._ledger.turn(_uuid(turn_id))
        if turn is None or turn.conversation_id != _uuid(conversation):
            raise NotFound("There is no such turn.")
        state = await self._ledger.cancel(user, turn.id)
        if state is TaskState.CANCELLED and not turn.state.ended:
            await self._tell_cancelled(turn)
        self._intake.end(turn.id, "stopped")
        await event_bus.publish(self._redis, "abort", "abort", turn=turn.id, conv_id=conversation)
        return state

    async def answer(self, user: User, conversation: str, question: str, answer: str) -> Approval:
        """Answer what a turn waits for; return the answer that counts: the first one. NotFound, BadInput."""
        approval = await self._approvals.answer(user, _uuid(conversation), _uuid(question), answer)
        ids = {"question": approval.id, "answer": approval.answer}
        if turn := await self._ledger.turn(approval.task_id):
            with suppress(StoreAway, StaleAttempt, NoAttempt):  # the next attempt's first event says the same
                await self._events.append(turn.conversation_id, turn.id, turn.attempt, [("answered", ids)])
        return approval

    async def _tell_cancelled(self, turn: Turn) -> None:
        """Tell open pages that a turn ended before it began; the sweep tells them if Redis is away now."""
        try:
            await self._events.open_attempt(turn.conversation_id, turn.id, turn.attempt, agent=self._agent)
            last = last_word(Answer(TaskState.CANCELLED), "")
            await self._events.append(turn.conversation_id, turn.id, turn.attempt, [last])
            await self._ledger.announced(turn.id, turn.attempt, TaskState.CANCELLED)
        except (StoreAway, StaleAttempt) as error:
            log.info("cancelled_untold", turn=turn.id, error=str(error))

    async def listing(self, user: User, search: str = "") -> list[Conversation]:
        """Return a person's conversations, newest first, those whose title contains `search`."""
        rows = await self._postgres.rows(
            "conversations", tenant=user.tenant_id, user=user.id, search=search[:MAX_TITLE], limit=200
        )
        return [_conversation(row) for row in rows]

    async def find(self, user: User, conversation: str) -> Conversation:
        """Return one conversation; NotFound when there is none or it is another's."""
        return _conversation(_found(await self._postgres.row("conversation", **_of(user, conversation))))

    async def create(self, user: User, conversation: str | None = None, title: str = "") -> Conversation:
        """Begin a conversation; Conflict when the id is taken, TooFewAgents when none may begin."""
        conversation = conversation or str(uuid4())
        await self._check_may_begin(user, conversation)
        made = await self._postgres.row(
            "create_conversation",
            **_of(user, conversation),
            title=checked.title_of(title),
            trace=uuid4().hex,
        )
        if made is None:
            raise Conflict("There is a conversation with this id already.")
        return await self.find(user, str(made["id"]))

    async def rename(self, user: User, conversation: str, title: str) -> None:
        """Give a conversation another title; BadInput when it is empty or too long."""
        title = checked.title_of(title)
        if not title:
            raise BadInput("A title needs at least one character.")
        _found(await self._postgres.row("rename_conversation", **_of(user, conversation), title=title))

    async def delete(self, user: User, conversation: str) -> None:
        """Take a conversation out of sight, and stop what runs in it."""
        for turn in (await self.transcript(user, conversation)).unfinished:
            await self.cancel(user, conversation, turn.id)
        _found(await self._postgres.row("delete_conversation", **_of(user, conversation)))

    async def transcript(self, user: User, conversation: str) -> Transcript:
        """Return what was said, and the cursor behind which everything else will come as events."""
        found = await self.find(user, conversation)
        return await self._transcript(found)

    async def _transcript(self, conversation: Conversation) -> Transcript:
        # The position is read first: what happens in between then comes twice, which readers tolerate, not never.
        position = await self._position(conversation.id)
        rows = await self._postgres.rows("messages", conversation=conversation.id, limit=SHOWN)
        unfinished = await self._postgres.rows("unfinished_turns", conversation=conversation.id)
        badly = await self._postgres.rows("ended_badly", conversation=conversation.id)
        return Transcript(
            conversation=conversation,
            messages=tuple(_message(row) for row in rows),
            unfinished=tuple(turn_of(row) for row in unfinished),
            ended_badly=tuple(turn_of(row) for row in badly),
            cursor=position,
            questions=await self._approvals.open_in(conversation.id),
        )

    async def _position(self, conversation: str) -> str:
        """Return the cursor from which an open page goes on: the start of the oldest unfinished turn, or the end."""
        unfinished = await self._postgres.rows("unfinished_turns", conversation=conversation)
        return await self._start_of(conversation, str(unfinished[0]["id"]) if unfinished else "")

    async def _start_of(self, conversation: str, turn: str) -> str:
        """Return the cursor from which a turn's events come, or the stream's end; '' while Redis is away."""
        try:
            position = await self._events.position(conversation, turn)
        except StoreAway:
            return ""
        return position.cursor(position.turn_start or position.last)

    async def message(self, user: User, conversation: str, message_id: str) -> Message:
        """Return one committed message; NotFound when it is not there or another's."""
        return _message(
            _found(await self._postgres.row("message", **_of(user, conversation), message=_uuid(message_id)))
        )

    async def join(self, user: User, conversation: str, cursor: str, turn: str = "") -> AsyncIterator[Event | None]:
        """`follow`, for a client that may as well listen to another agent: Leaving when it should."""
        if self._hub.leaving:
            raise Leaving
        return await self.follow(user, conversation, cursor, turn, stays=False)

    async def follow(
        self, user: User, conversation: str, cursor: str, turn: str = "", *, stays: bool = True
    ) -> AsyncIterator[Event | None]:
        """Return the endless feed of a conversation after `cursor`; None in it means that a second passed.

        If events were missed, the end of `turn` is told from its row: its client need not read the transcript.

        Raises:
            NotFound: before the first event, when the conversation is not this person's.
        """
        found, asked = await self.find(user, conversation), _uuid(turn) if turn else ""
        feed = Feed(
            self._events, self._hub, found.id, lambda: self._position(found.id), lambda: self._ended(found.id, asked),
            stays=stays,
        )  # fmt: skip
        return feed.events(cursor)

    async def _ended(self, conversation: str, turn: str) -> tuple[Event, ...]:
        """Return the whole text and the last event of a turn by its row; nothing unless it has ended."""
        row = await self._ledger.ended(conversation, turn) if turn else None
        return told_by(row) if row else ()


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise NotFound() from None


def _of(user: User, conversation: str) -> dict[str, object]:
    return {"tenant": user.tenant_id, "user": user.id, "conversation": _uuid(conversation)}


def _found(row: Row | None) -> Row:
    if row is None:
        raise NotFound()
    return row


def _conversation(row: Row) -> Conversation:
    return Conversation(id=str(row["id"]), title=row["title"], updated_at=row["updated_at"].timestamp())


def _message(row: Row) -> Message:
    return Message(
        id=str(row["id"]), turn_id=str(row["task_id"]), turn_no=row["turn_no"], role=row["role"], text=row["text"],
        agent_id=row["agent_id"], model=row["model"], meta=row["meta"], created_at=row["created_at"].timestamp(),
    )  # fmt: skip
