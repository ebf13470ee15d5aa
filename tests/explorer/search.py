"""The walk over all states that can be reached, in order of their distance."""

from typing import NamedTuple

from tests.explorer.moves import moves
from tests.explorer.properties import SETTLES_WITHIN, a_quiet_beat, broken, calm, can_settle, one_primary
from tests.explorer.world import World


class Found(NamedTuple):
    """How far the walk went and what it met."""

    states: int
    steps: int
    depth: int
    trouble: str
    """'' when all held; else what did not, and the way there, one step a line."""


class Walk:
    """Remembers every state seen, how it was reached, and in how many quiet beats it comes to rest."""

    def __init__(self, start: World) -> None:
        self._start = start
        self._from: dict[World, tuple[World, str] | None] = {start: None}
        self._rests: dict[World, int] = {}
        self._steps = 0

    def explore(self, depth: int, most: int = 10_000_000) -> Found:
        """Walk to `depth` steps from the start, or until `most` states are known."""
        frontier, reached = [self._start], 0
        while frontier and reached < depth and len(self._from) < most:
            reached += 1
            following = []
            for world in frontier:
                for said, after in moves(world):
                    self._steps += 1
                    if after in self._from:
                        continue
                    self._from[after] = (world, said)
                    if trouble := "; ".join(broken(world, said, after)) or self._unrest(after):
                        return self._found(reached, f"{trouble}\n{self._way(after)}")
                    following.append(after)
            frontier = following
        return self._found(reached, "")

    def _found(self, depth: int, trouble: str) -> Found:
        return Found(len(self._from), self._steps, depth, trouble)

    def _unrest(self, world: World) -> str:
        """Return '' when the cluster comes to rest with one primary if nothing else goes wrong."""
        if not can_settle(world):
            return ""
        way: list[World] = []
        now = world = calm(world)
        while now not in self._rests:
            way.append(now)
            if one_primary(now):
                self._rests[now] = 0
                break
            if len(way) > SETTLES_WITHIN:
                return f"no primary after {SETTLES_WITHIN} quiet beats; at last: {now}"
            now = a_quiet_beat(now)
        left = self._rests[now]
        for back, passed in enumerate(reversed(way)):
            self._rests[passed] = left + back if passed is not now else left
        return "" if self._rests[world] <= SETTLES_WITHIN else f"no primary after {self._rests[world]} quiet beats"

    def _way(self, world: World) -> str:
        said: list[str] = []
        while (came := self._from[world]) is not None:
            world, word = came
            said.append(word)
        return "\n".join(reversed(said))
