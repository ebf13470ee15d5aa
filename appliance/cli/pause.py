"""`nexus pause` and `nexus resume`: whether a dead primary is replaced by itself."""

import asyncio

from appliance.cli.common import ADMIN, HOME, HomeOption, Place, local_time, make, out
from appliance.cli.progress import Patience
from appliance.core.orders import AutomaticFailover, Pause


def pause(home: HomeOption = HOME) -> None:
    """Leave a dead primary's seat empty until `resume`; turns go on, a switchover stays possible."""
    place = Place(home)
    with Patience("pausing"):
        paused = asyncio.run(_pause(place))
    out.print(f"{words_of(paused)}: `{make('resume', place.home)}` ends that.", markup=False)


async def _pause(place: Place) -> Pause:
    async with place.postgres() as postgres:
        return await AutomaticFailover(postgres).pause(by=ADMIN)


def resume(home: HomeOption = HOME) -> None:
    """Replace dead primaries again."""
    place = Place(home)
    with Patience("resuming"):
        changed = asyncio.run(_resume(place))
    out.print("Automatic failover is on again." if changed else "Automatic failover was not paused.")


async def _resume(place: Place) -> bool:
    async with place.postgres() as postgres:
        return await AutomaticFailover(postgres).resume(by=ADMIN)


def words_of(paused: Pause) -> str:
    """Return who paused it and since when, a sentence without its full stop."""
    return f"Automatic failover is paused by {paused.by} since {local_time(paused.since)}"
