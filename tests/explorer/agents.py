"""What a keeper does: beat and keep its seat, look and decide, carry out what it decided (agent_image/keeper)."""

from functools import cache

import msgspec

from appliance.core.election.decide import (
    STAGGER_S,
    Act,
    Snapshot,
    candidates,
    decide,
    evidence_of,
    rank_of,
)
from appliance.core.health import Act as DeathAct
from appliance.core.health import after_deposing
from appliance.core.records import Agent as Record
from tests.explorer import stores
from tests.explorer.world import BEAT_S, FENCE, GAP, LEASE, NAMES, REVOTE, Case, Kind, Op, Term, World

_KINDS: dict[Act, Kind] = {Act.VOTE: "vote", Act.COUNT: "count", Act.STAND: "stand"}

# Beats ----------------------------------------------------------------------------------------------------------------


def beat(world: World, i: int) -> World:
    """One heartbeat: the record, tilt, and for a primary its lease."""
    agent, empty = world.agents[i], world.generation < 0
    can_vote = not agent.tilted and world.postgres
    if empty and world.postgres:  # initialise: the epoch's copy only rises
        world = world.but(generation=1 - world.generation, cached=max(world.cached, world.row.epoch))
    lost = agent.silence >= GAP or empty or world.generation != agent.generation
    world = world.change(i, silence=0, tilt=LEASE if lost else agent.tilt, generation=abs(world.generation))
    if world.generation < 0:
        return world
    record = agent.beat.but(age=0, boot=agent.boot, can_vote=can_vote, epoch=agent.epoch)
    world = world.change(i, beat=record)
    return keep(world, i) if agent.held else world


def keep(world: World, i: int) -> World:
    """Renew the lease; after Redis lost it, show it again if PostgreSQL agrees."""
    agent = world.agents[i]
    world, answer = stores.renew(world, Term(agent.epoch, i, agent.boot))
    if answer == "ok":
        return world.change(i, fence=fence(), shown=0)
    if answer == "other":
        return world.change(i, held=False, fence=0, shown=0)
    return check(world, i, lease_there=False) if world.postgres else world


def check(world: World, i: int, *, lease_there: bool) -> World:
    """Compare with PostgreSQL: step down for a later term, show a lease that is mine and that Redis does not know."""
    agent, term = world.agents[i], world.mine(i)
    mine = world.row == term and term.epoch > agent.given_up
    if agent.held and not mine:
        return world.change(i, held=False, fence=0, shown=0)
    if not agent.held:
        world = world.change(i, epoch=max(agent.epoch, world.row.epoch))
    if not mine or (agent.stands and lease_there) or not world.online(i) or world.generation < 0:
        return world
    world, answer = stores.renew(world, term)
    if answer == "ok":
        return sit(world, i, term)
    world, shown = stores.reassert(world, term)
    if not shown:
        world, shown = stores.install(world, term)
    return sit(world, i, term) if shown else world


def sit(world: World, i: int, term: Term) -> World:
    """Take the seat in the own memory."""
    return world.change(i, held=True, epoch=term.epoch, fence=fence(), shown=0)


def fence() -> int:
    """How long a primary acts after a renewal."""
    return LEASE + 1 if "self-fence" in stores.OUT else FENCE


def ask_postgres(world: World, i: int) -> World:
    """Each second: which term is in force, and was this boot buried?"""
    agent = world.agents[i]
    if agent.knows.epoch != world.row.epoch:
        agent = agent.but(case=None)
    world = world.change(i, knows=world.row, case=agent.case)
    if agent.buried:
        return world.change(i, buried=False, boot=agent.boot + 1, held=False, fence=0, shown=0, case=None, op=None)
    return check(world, i, lease_there=True)


# Looks ----------------------------------------------------------------------------------------------------------------


def look(world: World, i: int) -> World:
    """Read the registry once and decide (Candidate._look); what was decided is carried out in a later step."""
    if world.cached > world.agents[i].knows.epoch:
        if not world.postgres:
            return world
        world = world.change(i, knows=world.row, case=None)
    agent = world.agents[i]
    if abs(world.generation) != agent.generation or world.generation < 0:
        world = world.change(i, tilt=LEASE, generation=abs(world.generation))
    world = open_case(world, i)
    seen = snapshot(world, i)
    verdict = decide(seen)
    if verdict.act in _KINDS:
        return world.change(i, op=Op(_KINDS[verdict.act], seen))
    if seen.lease_there and (not seen.ended or seen.lease_moved):
        return world.change(i, case=None)
    return world


def leads(world: World, i: int) -> bool:
    """Whether this agent takes itself for the primary; not once it gave the seat up."""
    agent = world.agents[i]
    mine = agent.knows[1:] == (i, agent.boot) and (agent.knows.epoch > agent.given_up or "given up" in stores.OUT)
    return agent.held or mine


def open_case(world: World, i: int) -> World:
    """A missing lease opens a case by itself."""
    agent = world.agents[i]
    case = agent.case
    if case and (case.epoch != agent.knows.epoch or leads(world, i)):
        case = None
    if world.lease is None and not leads(world, i):
        case = case or Case(agent.knows.epoch)
        case = case.but(absent=case.absent or 0)
    elif case:
        case = case.but(absent=None)
    return world.change(i, case=case)


def snapshot(world: World, i: int) -> Snapshot:
    """What Candidate._snapshot builds."""
    agent, term, case = world.agents[i], world.agents[i].knows, world.agents[i].case
    named = world.released if world.released and world.released[0] == term.epoch else None
    seen = Snapshot(
        me=NAMES[i], epoch=term.epoch, holder=name(term.holder), holder_boot=f"{name(term.holder)}{term.boot}",
        i_lead=leads(world, i), tilted=agent.tilted, postgres_away=not world.postgres,
        lease_there=world.lease is not None,
        lease_moved=bool(case and world.lease and (world.lease.term.epoch != case.epoch or not case.unmoved)),
        absent_s=(case.absent or 0) * BEAT_S if case and world.lease is None else 0.0,
        ended=case is not None and case.ended is not None, released=named is not None,
        successor=name(named[1]) if named else "", turn_in_s=turn_in_s(world, i),
        voted=case is not None and case.voted is not None and case.voted < REVOTE,
    )  # fmt: skip
    if decide(seen).act is not Act.VOTE or seen.ended or term.holder < 0:
        return seen
    holder = world.agents[term.holder]
    claims = world.reaches(i, term.holder) and holder.stands and holder.epoch >= seen.epoch
    return msgspec.structs.replace(seen, holder_claims=claims)


def name(i: int) -> str:
    """Return an agent's name; '' for nobody."""
    return NAMES[i] if i >= 0 else ""


def turn_in_s(world: World, i: int) -> float:
    """Better candidates go first; here they have a whole beat, or as little as they need."""
    case = world.agents[i].case
    if case is None or case.voted is None or case.waited:
        return 0.0
    records = tuple((it.beat.epoch, it.beat.age < LEASE) for it in world.agents)
    return rank(records, case.epoch, i, world.agents[i].knows.holder) * STAGGER_S


@cache
def rank(records: tuple[tuple[int, bool], ...], epoch: int, i: int, suspect: int) -> int:
    """Return how many go before, by the real ranking."""
    agents = tuple(
        Record(id=NAMES[n], config_epoch=known, boot_alive=alive, electable=True)
        for n, (known, alive) in enumerate(records)
    )
    return rank_of(candidates(agents, epoch, name(suspect)), NAMES[i])


# Steps ----------------------------------------------------------------------------------------------------------------


def act(world: World, i: int) -> World:
    """Carry out what the last look decided."""
    op = world.agents[i].op
    assert op is not None
    return {"vote": cast, "count": count, "stand": stand, "install": serve}[op.kind](world.change(i, op=None), i, op)


def cast(world: World, i: int, op: Op) -> World:
    """Vote."""
    world, counted = stores.vote(world, i, op.seen.epoch)
    case = world.agents[i].case
    if not counted or case is None or case.epoch != op.seen.epoch:
        return world
    return world.change(i, case=case.but(voted=0))


def count(world: World, i: int, op: Op) -> World:
    """Have the votes counted, and stand if they suffice."""
    seen, case = op.seen, world.agents[i].case or Case(op.seen.epoch)
    if world.generation < 0:
        return world
    holder = NAMES.find(seen.holder) if seen.holder else -1
    tally = stores.may_elect(world, Term(seen.epoch, holder), evidence_of(seen), case)
    seen = msgspec.structs.replace(seen, tally=tally)
    return world.change(i, op=Op("stand", seen)) if decide(seen).act is Act.STAND else world


def stand(world: World, i: int, op: Op) -> World:
    """Try the compare-and-set."""
    world = world.change(i, case=None)
    if not world.postgres:
        return world
    world, won = stores.elect(world, i, op.seen.epoch)
    if won:
        return world.change(i, op=op.but(kind="install", won=world.row))
    return world.change(i, knows=world.row)


def serve(world: World, i: int, op: Op) -> World:
    """Show the lease, and bury whom the evidence says to be dead (PROTOCOLS 7.3, end)."""
    world, shown = stores.install(world, op.won)
    agent = world.agents[i]
    if not shown and not (agent.stands and Term(agent.epoch, i, agent.boot) == op.won):
        return world
    world = world.but(served=world.served or world.row == op.won)
    world = sit(world, i, op.won).change(i, knows=op.won)
    old = NAMES.find(op.seen.holder) if op.seen.holder else -1
    its_boot = old >= 0 and op.seen.holder_boot == f"{NAMES[old]}{world.agents[old].boot}"
    dead = after_deposing(evidence_of(op.seen)) is DeathAct.BURY
    return stores.bury(world, old) if its_boot and dead and old != i else world
