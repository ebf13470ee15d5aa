"""Everything that may happen next: the agents' own steps, the passing of a beat, and faults while some are left."""

from collections.abc import Iterator

from tests.explorer import agents, stores
from tests.explorer.world import EXTRA_LEASE, GAP, LEASE, NAMES, UNMOVED, Agent, Case, Term, World

Move = tuple[str, World]
A_BEAT = "a beat passes"


def moves(world: World) -> Iterator[Move]:
    """Yield all next states with the words for what happened; some are the same state."""
    yield from steps(world)
    yield from repairs(world)
    if world.faults:
        for said, after in faults(world):
            yield said, after.but(faults=world.faults - 1)


def steps(world: World) -> Iterator[Move]:
    """What happens by itself."""
    held_up = False
    for i, agent in enumerate(world.agents):
        if agent.life != "up":
            continue
        if agent.op:
            held_up |= agent.op.kind == "install" and world.online(i)
            yield f"{NAMES[i]} {agent.op.kind}s", act(world, i)
        elif world.online(i):
            yield f"{NAMES[i]} looks", agents.look(world, i)
        if world.online(i) and agent.held and not agent.renewed:
            held_up = True
            yield f"{NAMES[i]} renews", agents.beat(world.change(i, renewed=True), i)
        if ended(world, i):
            yield f"{NAMES[i]} sees the primary's connection end", hear_end(world, i)
    for i in confirmed_dead(world):
        yield f"{NAMES[i]} is buried", stores.bury(world, i)
    if not held_up:  # a primary that is well renews in every beat, and a winner shows its lease in the same one
        yield A_BEAT, tick(world)


def act(world: World, i: int) -> World:
    """Carry out a decided step; without Redis only the compare-and-set can be."""
    op = world.agents[i].op
    assert op is not None
    return agents.act(world, i) if op.kind == "stand" or world.online(i) else world.change(i, op=None)


def ended(world: World, i: int) -> bool:
    """Whether this agent's connection to the holder of the lease has ended and it has not taken that in yet."""
    if not world.lease or not world.online(i) or world.lease.term.holder == i:
        return False
    _, holder, boot = world.lease.term
    gone = world.agents[holder].life == "dead" or (min(i, holder), max(i, holder)) in world.cuts
    return gone and world.agents[holder].boot == boot and world.agents[i].heard != (holder, boot)


def hear_end(world: World, i: int) -> World:
    """Note the end with the lease as it stands (Watch._confirm_death, Candidate.suspect)."""
    assert world.lease is not None
    term, case = world.lease.term, world.agents[i].case
    case = case if case and case.epoch == term.epoch else Case(term.epoch)
    return world.change(i, heard=term[1:], case=case.but(ended=0, unmoved=True))


def confirmed_dead(world: World) -> list[int]:
    """Return whose ended connection is confirmed by a second witness or by an unmoved beat (health.judge_eof)."""
    if not world.postgres:
        return []
    found = []
    for i, agent in enumerate(world.agents):
        witnesses = sum(
            it.heard == (i, agent.boot) and world.online(j) and not it.tilted for j, it in enumerate(world.agents)
        )
        if witnesses and agent.beat.age < LEASE and (witnesses > 1 or agent.beat.age >= UNMOVED):
            found.append(i)
    return found


def tick(world: World) -> World:
    """Let half a second pass: keys and memories grow older, all but a primary beat, all ask PostgreSQL."""
    world = stores.age(world)
    world = world.but(agents=tuple(older(agent) for agent in world.agents))
    for i, agent in enumerate(world.agents):
        if not agent.held and world.online(i):
            world = agents.beat(world, i)
    for i in range(len(world.agents)):
        if world.agents[i].life == "up" and world.postgres:
            world = agents.ask_postgres(world, i)
    return world


def older(agent: Agent) -> Agent:
    """Return an agent half a second later."""
    if agent.life == "dead":
        return agent.but(beat=agent.beat.but(age=min(LEASE, agent.beat.age + 1)))
    case = agent.case
    if case:
        case = case.but(
            ended=None if case.ended is None else min(UNMOVED, case.ended + 1),
            absent=None if case.absent is None else min(EXTRA_LEASE, case.absent + 1),
            voted=None if case.voted is None else min(EXTRA_LEASE, case.voted + 1),
            waited=case.voted is not None,
        )
    return agent.but(
        beat=agent.beat.but(age=min(LEASE, agent.beat.age + 1)),
        fence=max(0, agent.fence - 1), tilt=max(0, agent.tilt - 1), silence=min(GAP, agent.silence + 1),
        renewed=False, case=case, shown=min(LEASE, agent.shown + 1) if agent.held else 0,
    )  # fmt: skip


def repairs(world: World) -> Iterator[Move]:
    """What was broken comes back."""
    for i, agent in enumerate(world.agents):
        if agent.life == "frozen":
            yield f"{NAMES[i]} thaws", world.change(i, life="up")
        if not agent.reaches_redis and agent.life != "dead":
            yield f"{NAMES[i]} reaches Redis again", world.change(i, reaches_redis=True)
    if not world.redis:
        yield "Redis is back", world.but(redis=True)
    if not world.postgres:
        yield "PostgreSQL is back", world.but(postgres=True)


def faults(world: World) -> Iterator[Move]:
    """What may go wrong."""
    for i, agent in enumerate(world.agents):
        if agent.life == "dead":
            continue
        yield f"{NAMES[i]} dies", kill(world, i)
        if agent.life == "up":
            yield f"{NAMES[i]} freezes", world.change(i, life="frozen", unharmed=False)
            yield f"{NAMES[i]} doubts itself", world.change(i, tilt=LEASE)
            yield from given_up(world, i)
        if agent.reaches_redis:
            yield f"{NAMES[i]} loses Redis", world.change(i, reaches_redis=False, unharmed=False)
        for j in range(i):
            if world.agents[j].life != "dead" and (j, i) not in world.cuts:
                yield f"{NAMES[j]} and {NAMES[i]} lose each other", world.but(cuts=world.cuts | {(j, i)})
    yield from stores_fail(world)


def stores_fail(world: World) -> Iterator[Move]:
    """Redis goes away or loses its data, PostgreSQL goes away."""
    if world.redis:
        yield "Redis goes away", world.but(redis=False)
    if world.generation > 0:
        yield "Redis loses its data", flush(world)
    if world.postgres:
        yield "PostgreSQL goes away", world.but(postgres=False)


def kill(world: World, i: int) -> World:
    """End a whole agent; its memory goes with it."""
    agent = world.agents[i]
    dead = Agent(beat=agent.beat, knows=agent.knows, life="dead", boot=agent.boot)
    return world.but(agents=(*world.agents[:i], dead, *world.agents[i + 1 :]))


def flush(world: World) -> World:
    """FLUSHALL: what is left is PostgreSQL and what agents remember."""
    for i, agent in enumerate(world.agents):
        world = world.change(i, beat=agent.beat.but(age=LEASE))
    return world.but(generation=-world.generation, cached=0, lease=None, gone=0, votes=frozenset(), released=None)


def given_up(world: World, i: int) -> Iterator[Move]:
    """A primary hands over to a successor, or its runner ends."""
    agent, term = world.agents[i], Term(world.agents[i].epoch, i, world.agents[i].boot)
    if not agent.stands or not world.online(i):
        return
    left = world.change(i, held=False, fence=0, shown=0, given_up=agent.epoch)
    for j, other in enumerate(world.agents):
        if j != i and other.life != "dead":
            yield f"{NAMES[i]} hands over to {NAMES[j]}", stores.release(left, term, j)
    if world.postgres:
        yield f"{NAMES[i]}'s runner ends", stores.bury(stores.release(left, term, -1), i)
