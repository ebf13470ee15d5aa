"""One state of the model: small, immutable, and equal to another one whenever the same can happen from both."""

from typing import Any, Literal, NamedTuple, Self

from msgspec import Struct
from msgspec.structs import replace

from appliance.core.election.decide import Snapshot

BEAT_S = 0.5
LEASE, FENCE, WINDOW, NAMED = 4, 3, 3, 2
"""Beats: a lease lives, its holder acts after sending a renewal, a vote counts, a successor stays named."""
EXTRA_LEASE, REVOTE, GRACE, UNMOVED = 4, 2, 2, 2
GAP = 3
"""Beats without a reply of Redis after which a keeper does not trust itself."""
NAMES = "abc"

Kind = Literal["vote", "count", "stand", "install"]
Life = Literal["up", "frozen", "dead"]
Guard = Literal["compare-and-set", "grace", "serving", "quorum", "self-fence", "installed once", "given up"]
"""What a test may take out of the model, to see that the explorer finds what that leads to."""


class Term(NamedTuple):
    """The row of PostgreSQL, as it is or as an agent read it. Agents are their place in NAMES, -1 is nobody."""

    epoch: int
    holder: int = -1
    boot: int = 0


class State(Struct, frozen=True, cache_hash=True, gc=False):
    """Immutable, and quick to copy and to look up."""

    def but(self, **changes: Any) -> Self:
        """Return a copy with these fields changed."""
        return replace(self, **changes)


class Lease(State, frozen=True):
    """What Redis shows of the primary. Its seq is left out: each case knows whether it has moved (`Case.unmoved`)."""

    term: Term
    left: int = LEASE


class Case(State, frozen=True):
    """What speaks against the holder of an epoch, in beats since; None: it never happened."""

    epoch: int
    ended: int | None = None
    unmoved: bool = False
    absent: int | None = None
    voted: int | None = None
    waited: bool = False
    """The first vote lies a beat back: better candidates have had their time."""


class Beat(State, frozen=True):
    """An agent's record in Redis."""

    age: int
    boot: int
    can_vote: bool
    epoch: int


class Op(State, frozen=True):
    """A step an agent has decided on and not carried out yet: the world may change in between."""

    kind: Kind
    seen: Snapshot
    won: Term = Term(0)


class Agent(State, frozen=True):
    """One agent: its keeper's memory and its place in the world."""

    beat: Beat
    knows: Term
    life: Life = "up"
    reaches_redis: bool = True
    unharmed: bool = True
    """It was never frozen, cut from Redis or buried, so nobody has a reason to depose it."""
    boot: int = 0
    buried: bool = False
    silence: int = 0
    """Beats since Redis answered."""
    tilt: int = 0
    generation: int = 1
    held: bool = False
    epoch: int = 0
    fence: int = 0
    shown: int = 0
    """Beats since it last showed or renewed its lease."""
    given_up: int = 0
    renewed: bool = False
    case: Case | None = None
    op: Op | None = None
    heard: tuple[int, int] = (-1, 0)
    """The last boot whose connection ended."""

    @property
    def stands(self) -> bool:
        """Whether it may act as primary now."""
        return self.held and self.fence > 0

    @property
    def tilted(self) -> bool:
        """Whether it distrusts itself."""
        return self.tilt > 0 or self.silence >= GAP - 1


class World(State, frozen=True):
    """Everything."""

    agents: tuple[Agent, ...]
    row: Term
    row_age: int = GRACE
    served: bool = True
    """The winner of the present term has shown its lease and written that down."""
    postgres: bool = True
    redis: bool = True
    generation: int = 1
    """Negative while Redis holds no data."""
    cached: int = 0
    lease: Lease | None = None
    gone: int = 0
    """Beats for which there has been no lease."""
    votes: frozenset[tuple[int, int, int]] = frozenset()
    """(epoch, voter, age)."""
    released: tuple[int, int, int] | None = None
    """(epoch, successor or -1, beats left)."""
    cuts: frozenset[tuple[int, int]] = frozenset()
    """Pairs of agents that do not reach each other."""
    faults: int = 0
    """So many more may happen."""

    def change(self, i: int, **changes: object) -> "World":
        """Return the world with one agent changed."""
        agents = list(self.agents)
        agents[i] = replace(agents[i], **changes)
        return replace(self, agents=tuple(agents))

    def reaches(self, i: int, j: int) -> bool:
        """Whether a probe of j by i is answered."""
        return self.agents[j].life == "up" and (min(i, j), max(i, j)) not in self.cuts

    def online(self, i: int) -> bool:
        """Whether this agent lives and reaches Redis."""
        agent = self.agents[i]
        return agent.life == "up" and agent.reaches_redis and self.redis

    def mine(self, i: int) -> Term:
        """Return the term in force as it would be if it were this agent's."""
        return Term(self.row.epoch, i, self.agents[i].boot)


def steady(faults: int, living: int = 3) -> World:
    """Return a cluster that runs well: a is primary of epoch 1."""
    term = Term(1, 0, 0)
    agents = tuple(Agent(beat=Beat(0, 0, can_vote=True, epoch=1), knows=term, epoch=1) for _ in NAMES)
    world = World(agents=agents, row=term, cached=1, lease=Lease(term), faults=faults)
    world = world.change(0, held=True, fence=FENCE)
    for i in range(living, len(NAMES)):
        world = world.change(i, life="dead", beat=agents[i].beat.but(age=LEASE))
    return world


def unborn(faults: int) -> World:
    """Return a cluster that has never had a primary."""
    agents = tuple(Agent(beat=Beat(0, 0, can_vote=True, epoch=0), knows=Term(0)) for _ in NAMES)
    return World(agents=agents, row=Term(0), gone=0, faults=faults)
