"""Promotion: what was said in conversations that rest becomes memories, each range of turns exactly once (DESIGN 10).

The primary publishes one task a range, by a key that is the range's; any agent reads it and keeps what it finds in the
transaction that stamps the range. Who dies before that leaves nothing behind, who comes after finds the stamp.
"""

from itertools import groupby
from operator import attrgetter
from typing import Any

import msgspec

from agent_image.runner.memory.extracting import Extracting
from agent_image.runner.memory.remembering import Remembering
from agent_image.runner.tasks.board import Board
from appliance.core import failpoints, logs
from appliance.core.errors import Overloaded
from appliance.core.memory.items import Item, Origin
from appliance.core.memory.promotions import Due, Promotions, Said
from appliance.core.memory.store import Promoted
from appliance.core.records import Task, User
from appliance.core.task_batches import Wanted

log = logs.get("memories")
KIND = "promote"
AT_ONCE = 200
"""Ranges published in one sweep; the rest follow in the next second."""
DELETED = "The conversation was deleted."


class _Range(msgspec.Struct, frozen=True):
    """A task's payload."""

    conversation: str
    from_turn: int
    to_turn: int


class Promoter:
    """Publishes as the primary. Two primaries at once publish the same tasks: the key makes them one."""

    def __init__(self, promotions: Promotions, board: Board) -> None:
        self._promotions = promotions
        self._board = board

    async def publish_due(self, epoch: int) -> None:
        """Publish a task for each range that is due.

        Raises:
            StoreAway: what is left is still due.
        """
        due = sorted(await self._promotions.due(AT_ONCE), key=lambda it: it.user.id)
        for user, ranges in groupby(due, key=attrgetter("user")):
            wanted = [_wanted(it) for it in ranges]
            try:
                await self._board.publish(user, wanted)
            except Overloaded:  # of this person so much waits already; others are not held up
                log.info("promotion_postponed", user=user.id, ranges=len(wanted))
                continue
            log.info("promotion_published", epoch=epoch, user=user.id, ranges=len(wanted))


def _wanted(it: Due) -> Wanted:
    payload = msgspec.to_builtins(_Range(it.conversation, it.from_turn, it.to_turn))
    return Wanted(KIND, payload, priority="low", key=it.key)


class Promoting:
    """The handler of these tasks."""

    def __init__(self, promotions: Promotions, remembering: Remembering, extracting: Extracting, agent: str) -> None:
        self._promotions = promotions
        self._remembering = remembering
        self._extracting = extracting
        self._agent = agent

    async def __call__(self, task: Task) -> dict[str, Any]:
        """Read a range; return what came of it, in words and numbers."""
        user, it = User(id=task.user_id, name="", tenant_id=task.tenant_id), msgspec.convert(task.payload, _Range)
        said = await self._promotions.said(user, it.conversation, it.from_turn, it.to_turn)
        if said is None:
            return {"outcome": DELETED}
        items, how = await self._items(said, it.conversation, task)
        stamp = Promoted(it.conversation, it.from_turn, it.to_turn, how, task.id)
        kept = await self._remembering.keep(user, items, stamp)
        failpoints.reach("after_promotion_kept")
        if kept.before:
            return {"outcome": kept.before}
        counts = {what: sum(one.what == what for one in kept.settled) for what in ("kept", "same", "refused")}
        return {"outcome": "Read." if items else "Nothing in it to remember.", "how": how, **counts}

    async def _items(self, said: list[Said], conversation: str, task: Task) -> tuple[list[Item], str]:
        """Return what these messages tell, and who read them: rules, or a model."""
        items: list[Item] = []
        readers: set[str] = set()
        for message in said:
            found, how = await self._extracting.extract(message.text, key=f"{task.id}:{message.turn_no}")
            readers.add(how)
            origin = Origin("message", conversation, message.message, message.turn_no, self._agent)
            items += [
                Item(text=it.text, type=it.type, confidence=it.confidence, origin=origin, valid_from=message.at)
                for it in found
            ]
        return items, " and ".join(sorted(readers)) or "rules"
