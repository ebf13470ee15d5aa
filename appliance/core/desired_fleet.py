"""What the fleet should be: one row of slots, changed with its audit row, obeyed by `up` and by the control plane."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID, uuid4

import msgspec

from appliance.core.errors import Conflict, NotFound
from appliance.core.postgres import Postgres

_TRIES = 20
_STEM = "agent-"


class Wish(msgspec.Struct, frozen=True):
    """The slots that should exist, and those of them that are out of service on purpose."""

    slots: tuple[int, ...]
    resting: tuple[int, ...] = ()


class Desired(Wish, frozen=True, kw_only=True):
    """The row. `version` grows with each change."""

    version: int
    changed_by: str
    changed_at: datetime

    @property
    def number(self) -> int:
        """How many agents there should be."""
        return len(self.slots)

    @property
    def working(self) -> tuple[int, ...]:
        """The slots whose agents should run now."""
        return tuple(slot for slot in self.slots if slot not in self.resting)

    def with_rest(self, slot: int, *, rests: bool) -> Wish:
        """Return the wish with one slot out of service, or back in it."""
        others = set(self.resting) - {slot}
        return Wish(self.slots, tuple(sorted(others | {slot} if rests else others)))


class DesiredFleet:
    """Reads and changes the row."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def up(self, first: int, *, by: str) -> Desired:
        """Return the row as `up` obeys it: `first` slots the first time, later what was wished; nobody rests now."""
        await self._postgres.rows("set_first_desired_fleet", slots=list(range(1, first + 1)), by=by)
        return await self.change(lambda now: Wish(now.slots), action="up", by=by, key=uuid4())

    async def read(self) -> Desired:
        """Read the row.

        Raises:
            NotFound: no `up` has written it yet.
        """
        row = await self._postgres.row("desired_fleet")
        if row is None:
            raise NotFound("The desired number of agents is not set yet: `make up` sets it.")
        return msgspec.convert(row, Desired)

    async def change(
        self, choose: Callable[[Desired], Wish], *, action: str, by: str, key: UUID, subject: str = ""
    ) -> Desired:
        """Set the row to what `choose` makes of it; asked again with the same key, return the first result.

        `choose` is asked anew when somebody else changed the row meanwhile: the last one wins, knowing of the first.

        Raises:
            NotFound: no `up` has written the row yet. Conflict: the key belongs to another request, or others change
                the row all the time. Whatever `choose` raises.
        """
        trace = uuid4().hex
        for _ in range(_TRIES):
            now = await self.read()
            wish = choose(now)
            changed = await self._postgres.value(
                "set_desired_fleet", key=key, by=by, action=action, subject=subject, version=now.version, trace=trace,
                slots=sorted(wish.slots), resting=sorted(wish.resting),
            )  # fmt: skip
            if changed is not None:
                return msgspec.convert(changed, Desired)
        raise Conflict("Others change the fleet at this very moment: try again.")


def agent_id(slot: int) -> str:
    """Return the name of the agent in a slot."""
    return f"{_STEM}{slot}"


def slot_of(agent: str) -> int | None:
    """Return the slot of an agent, or None when the name is not one of a fleet's."""
    digits = agent.removeprefix(_STEM)
    is_one = agent.startswith(_STEM) and digits.isascii() and digits.isdigit() and digits[0] != "0" and len(digits) < 6
    return int(digits) if is_one else None
