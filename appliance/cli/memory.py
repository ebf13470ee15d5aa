"""`nexus memory`: what an operator does about memories as a whole; people see and change theirs in the chat."""

import asyncio
from uuid import uuid4

import typer

from appliance.cli.common import ADMIN, HOME, HomeOption, Place, make, out
from appliance.cli.progress import Patience
from appliance.core.clock import beat
from appliance.core.errors import CannotStart, NoIndex
from appliance.core.memory.index import MemoryIndex

WITHIN_S, LOOK_S = 600.0, 0.5
memory = typer.Typer(help="The search index of memories.", no_args_is_help=True)


@memory.callback()
def _group() -> None:
    """The search index of memories."""


@memory.command()
def rebuild(home: HomeOption = HOME) -> None:
    """Make the search index of memories anew from PostgreSQL; searches go on with the old one meanwhile."""
    place = Place(home)
    with Patience("rebuilding the index of memories"):
        documents = asyncio.run(_rebuilt(place, WITHIN_S))
    out.print(f"The index of memories was made anew: {documents:,} memories are in it.", markup=False)


async def _rebuilt(place: Place, within_s: float) -> int:
    async with place.postgres() as postgres, place.redis() as redis:
        index = MemoryIndex(redis)
        _, before = await index.life()
        said = {"actor": ADMIN, "action": "rebuild memories", "subject": "", "detail": "{}", "trace": uuid4().hex}
        await postgres.rows("audit", **said)
        await index.rebuild(before)
        try:
            async with asyncio.timeout(within_s):
                while not await _is_newer(index, before):
                    await beat(LOOK_S)
        except TimeoutError:
            raise CannotStart(
                f"It was asked for, and after {within_s:g} s it is not done: the primary does it as soon as it can."
                f" `{make('status', place.home)}` tells whether there is one, `{make('doctor', place.home)}` whether"
                " the embedding server answers."
            ) from None
        return await index.documents()


async def _is_newer(index: MemoryIndex, before: int) -> bool:
    try:
        return (await index.searched()).build > before
    except NoIndex:
        return False
