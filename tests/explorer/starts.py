"""Situations the walks begin in: what they go on to is many steps away from a cluster that runs well."""

from collections.abc import Callable

from tests.explorer import agents, moves, stores
from tests.explorer.world import Term, World, steady, unborn


def beats(world: World, number: int) -> World:
    """Let beats pass in which nobody looks at anything."""
    for _ in range(number):
        for i, agent in enumerate(world.agents):
            if world.online(i) and agent.held:
                world = agents.beat(world.change(i, renewed=True), i)
        world = moves.tick(world)
    return world


def voted(world: World, *voters: int) -> World:
    """Let these agents look and vote."""
    for i in voters:
        world = moves.act(agents.look(world, i), i)
    return world


def won_and_frozen(world: World) -> World:
    """Return the world with b stopped between its compare-and-set and its lease, and c about to try its own."""
    for i in (1, 2):
        world = moves.act(agents.look(world, i), i)
    return moves.act(world, 1).change(1, life="frozen", unharmed=False)


def cut_off(world: World) -> World:
    """Return the world with a cut off from everybody and everything but PostgreSQL."""
    return world.change(0, reaches_redis=False, unharmed=False).but(cuts=frozenset({(0, 1), (0, 2)}))


def handed_over(world: World, successor: int) -> World:
    """Return the world just after a released the lease, to a successor or (-1) to whom they agree on."""
    return stores.release(world.change(0, held=False, fence=0, shown=0, given_up=1), Term(1, 0, 0), successor)


def well() -> World:
    """Return a cluster that runs well, a moment after its start."""
    return beats(steady(0), 1)


def pair() -> World:
    """Return the same without c."""
    return beats(steady(0, living=2), 1)


def frozen() -> World:
    """Return the world with a stopped."""
    return well().change(0, life="frozen", unharmed=False)


def dead() -> World:
    """Return the world with a dead, which the others' connections have told them."""
    return moves.hear_end(moves.hear_end(moves.kill(well(), 0), 1), 2)


SITUATIONS: dict[str, Callable[[], World]] = {
    "a runs well": well,
    "a runs well beside b alone": pair,
    "a and b lost each other": lambda: well().but(cuts=frozenset({(0, 1)})),
    "a has died and both have seen its connections end": dead,
    "a has died and both have voted": lambda: voted(dead(), 1, 2),
    "a is frozen and its lease about to end": lambda: beats(frozen(), 3),
    "a is frozen and both have voted": lambda: voted(beats(frozen(), 4), 1, 2),
    "a is frozen, and b too after its election": lambda: won_and_frozen(beats(voted(beats(frozen(), 4), 1, 2), 1)),
    "a is cut off and its lease about to end": lambda: beats(cut_off(well()), 3),
    "a handed over to b": lambda: handed_over(well(), 1),
    "a handed over to b and there is no c": lambda: handed_over(pair(), 1),
    "a's runner ended": lambda: stores.bury(handed_over(well(), -1), 0),
    "Redis lost its data": lambda: moves.flush(well()),
    "Redis was away for three beats": lambda: beats(well().but(redis=False), 3).but(redis=True),
    "nobody was ever primary": lambda: unborn(0),
    "nobody was ever primary and all have voted": lambda: voted(unborn(0), 0, 1, 2),
}


def start(situation: str, faults: int) -> World:
    """Return where a walk begins, with that many faults still to come."""
    return SITUATIONS[situation]().but(faults=faults)
