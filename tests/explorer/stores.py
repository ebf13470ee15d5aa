"""What the stores do with one step: PostgreSQL's compare-and-set, Redis' functions (PROTOCOLS 6.2, 6.3)."""

from appliance.core.election.decide import Evidence, Tally
from tests.explorer.world import GRACE, LEASE, NAMED, NAMES, UNMOVED, WINDOW, Case, Guard, Lease, Term, World

OUT: set[Guard] = set()
"""Guards that a test has taken out."""


def elect(world: World, i: int, voted: int) -> tuple[World, bool]:
    """PostgreSQL's compare-and-set; its commit is the moment of election."""
    agent, row = world.agents[i], world.row
    late = row.epoch > voted and (world.row_age >= GRACE or "grace" in OUT)
    late = late and (not world.served or "serving" in OUT)
    if agent.buried or not (row.epoch == voted or late or "compare-and-set" in OUT):
        return world, False
    return world.but(row=Term(row.epoch + 1, i, agent.boot), row_age=0, served=False), True


def vote(world: World, i: int, epoch: int) -> tuple[World, bool]:
    """Refused when the voter's own record is stale, another boot's, or says that it cannot vote."""
    beat = world.agents[i].beat
    if world.generation < 0 or beat.boot != world.agents[i].boot or not beat.can_vote or beat.age >= LEASE:
        return world, False
    others = {it for it in world.votes if it[:2] != (epoch, i)}
    return world.but(votes=frozenset(others | {(epoch, i, 0)})), True


def living_voters(world: World, suspect: int) -> list[int]:
    """Agents that count when votes do."""
    found = []
    for i, agent in enumerate(world.agents):
        alive = agent.beat.age < LEASE and not (agent.buried and agent.beat.boot == agent.boot)
        if i != suspect and alive and agent.beat.can_vote:
            found.append(i)
    return found


def quorum_of(world: World, suspect: int) -> tuple[int, list[int]]:
    """Return how many votes are wanted and who may give one."""
    living = living_voters(world, suspect)
    return max(1, len(living) // 2 + 1), living


def may_elect(world: World, term: Term, evidence: Evidence, case: Case) -> Tally:
    """Count the votes against the holder of a term; changes nothing."""
    quorum, living = quorum_of(world, term.holder)
    wanted = 1 if "quorum" in OUT else quorum
    voters = [i for i in living if any(it[:2] == (term.epoch, i) for it in world.votes)]
    unmoved = world.lease and world.lease.term.epoch == term.epoch and case.unmoved
    said = Tally("yes", quorum, tuple(NAMES[i] for i in voters))
    if world.cached > term.epoch:
        return Tally("overtaken", said.quorum, said.voters)
    if world.lease and not (evidence == "eof" and unmoved):
        return Tally("alive", said.quorum, said.voters)
    if len(voters) < wanted:
        return Tally("few", said.quorum, said.voters)
    if world.lease and len(voters) < 2 and (case.ended or 0) < UNMOVED:
        return Tally("unconfirmed", said.quorum, said.voters)
    return said


def install(world: World, term: Term) -> tuple[World, bool]:
    """Show the lease of an epoch just won; refused when it or a later one is known."""
    if world.generation < 0 or (term.epoch <= world.cached and "installed once" not in OUT):
        return world, False
    shown = moved(world.but(cached=term.epoch, lease=Lease(term), released=None, gone=0))
    return shown, True


def reassert(world: World, term: Term) -> tuple[World, bool]:
    """Show a lost lease again; refused when one is there or a later epoch is known."""
    if world.generation < 0 or world.lease or term.epoch < world.cached:
        return world, False
    return moved(world.but(cached=term.epoch, lease=Lease(term), gone=0)), True


def renew(world: World, term: Term) -> tuple[World, str]:
    """Prolong a lease: 'ok', 'absent' or 'other'."""
    if not world.lease:
        return world, "absent"
    if world.lease.term != term:
        return world, "other"
    return moved(world.but(lease=Lease(term))), "ok"


def moved(world: World) -> World:
    """Tell all who noted the lease's seq that it is another one now."""
    agents = tuple(
        agent.but(case=agent.case.but(unmoved=False)) if agent.case and agent.case.unmoved else agent
        for agent in world.agents
    )
    return world.but(agents=agents)


def release(world: World, term: Term, successor: int) -> World:
    """Give the seat up; only its holder does."""
    if not world.lease or world.lease.term != term:
        return world
    return world.but(lease=None, gone=0, released=(term.epoch, successor, NAMED))


def bury(world: World, i: int) -> World:
    """Write a boot's death down; its boot key and its lease go at once."""
    agent = world.agents[i]
    lease = None if world.lease and world.lease.term[1:] == (i, agent.boot) else world.lease
    world = world.change(i, buried=True, unharmed=False, beat=agent.beat.but(age=LEASE))
    return world.but(lease=lease)


def age(world: World) -> World:
    """Let the stores' keys and the row grow one beat older."""
    lease = world.lease.but(left=world.lease.left - 1) if world.lease and world.lease.left > 1 else None
    left = world.released[2] - 1 if world.released else 0
    return world.but(
        lease=lease,
        gone=0 if lease else min(LEASE, world.gone + 1),
        released=(*world.released[:2], left) if world.released and left else None,
        votes=frozenset((epoch, voter, age + 1) for epoch, voter, age in world.votes if age < WINDOW),
        row_age=min(GRACE, world.row_age + 1),
    )
