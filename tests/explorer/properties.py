"""What must hold in every state and over every step (FAULTS I1, I3, I4, I11, I12), and the way back to one primary."""

from collections.abc import Iterator

from appliance.core.election.decide import EXTRA_LEASE_S
from tests.explorer import agents, moves, stores
from tests.explorer.moves import A_BEAT
from tests.explorer.world import GRACE, LEASE, NAMES, World

SETTLES_WITHIN = 24
"""Beats until a cluster that is left alone has one primary: tilt, the lease, one more lease, and room."""


def broken(before: World, said: str, after: World) -> Iterator[str]:
    """Yield what does not hold in `after`, or was not allowed to happen from `before` to it."""
    acting = [i for i, it in enumerate(after.agents) if it.life != "dead" and it.stands]
    fenced = [i for i, it in enumerate(after.agents) if it.life != "dead" and it.held and it.epoch == after.row.epoch]
    if len(fenced) > 1 or (fenced and fenced[0] != after.row.holder):
        yield f"{[NAMES[i] for i in fenced]} pass the fence of {after.row}"
    if late := [NAMES[i] for i in acting if after.agents[i].shown >= LEASE]:
        yield f"{late} acts though its lease has run out"
    shown = after.lease.term.epoch if after.lease else 0
    if said == A_BEAT and any(after.online(i) and after.agents[i].epoch < shown for i in acting):
        yield "a deposed primary that reaches Redis acts for longer than a beat"
    if after.cached > after.row.epoch:
        yield "Redis knows a later epoch than PostgreSQL"
    if after.cached < before.cached and after.generation == before.generation:
        yield "the epoch in Redis fell"
    if after.row.epoch != before.row.epoch:
        yield from not_elected_properly(before, after)


def not_elected_properly(before: World, after: World) -> Iterator[str]:
    """Yield what is wrong with an election."""
    if after.row.epoch != before.row.epoch + 1:
        yield "an epoch was skipped"
    winner = after.agents[after.row.holder]
    assert winner.op is not None
    seen = winner.op.seen
    named = seen.released and seen.successor == seen.me
    agreed = seen.tally is not None and seen.tally.verdict == "yes" and len(seen.tally.voters) >= seen.tally.quorum
    alone = seen.tally is not None and seen.tally.verdict == "few" and seen.absent_s >= EXTRA_LEASE_S
    if not (named or agreed or alone):
        yield "elected without a quorum, one more lease or a release that names it"
    if seen.epoch < before.row.epoch and before.row_age < GRACE:
        yield "a winner was not given its second to serve"
    if seen.tilted or winner.buried:
        yield "elected in tilt, or buried"
    if before.row.holder not in (-1, after.row.holder) and is_well(before, before.row.holder):
        yield f"{NAMES[before.row.holder]} was well and was deposed"


def is_well(world: World, i: int) -> bool:
    """Whether a primary had done nothing to be deposed for: never stopped or cut off, and seen by a peer."""
    agent = world.agents[i]
    lost = sum(pair in world.cuts for pair in ((0, 1), (0, 2), (1, 2)) if i in pair)
    return agent.life == "up" and agent.unharmed and agent.held and agent.given_up < agent.epoch and lost < 2


def one_primary(world: World) -> bool:
    """Whether exactly one agent acts, by the epoch in force, and Redis shows it."""
    acting = [i for i, it in enumerate(world.agents) if it.life == "up" and it.stands]
    return acting == [world.row.holder] and world.lease is not None and world.lease.term == world.row


def can_settle(world: World) -> bool:
    """Whether anybody is left to be primary."""
    return any(it.life == "up" and it.reaches_redis for it in world.agents)


def calm(world: World) -> World:
    """Return the world without what only safety is judged by, so that more of them are the same."""
    agents = tuple(it if it.unharmed else it.but(unharmed=True) for it in world.agents)
    return world.but(agents=agents, faults=0, redis=True, postgres=True)


def a_quiet_beat(world: World) -> World:
    """Let everybody do what there is to do, and half a second pass; nothing goes wrong."""
    for i in range(len(world.agents)):
        agent = world.agents[i]
        if world.online(i) and agent.held and not agent.renewed:
            world = agents.beat(world.change(i, renewed=True), i)
        if moves.ended(world, i):
            world = moves.hear_end(world, i)
    for i in range(len(world.agents)):
        world = finish(world, i)
    for i in moves.confirmed_dead(world):
        world = stores.bury(world, i)
    return moves.tick(world)


def finish(world: World, i: int) -> World:
    """Let one agent look and act until there is nothing left to do."""
    for _ in range(8):
        if world.agents[i].op:
            world = moves.act(world, i)
        elif not world.online(i):
            break
        else:
            after = agents.look(world, i)
            if after.agents[i].op is None:
                return after
            world = after
    return world
