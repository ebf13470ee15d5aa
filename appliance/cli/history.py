"""`nexus history`: every change of the primary, and how each millisecond was spent."""

import asyncio
import json
from typing import Annotated

import msgspec
import typer

from appliance.cli.bars import lines_of
from appliance.cli.common import HOME, HomeOption, Place, make, out
from appliance.cli.progress import Patience
from appliance.core.history import Failover, History
from appliance.embedded.places import Home


def history(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the newest first.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="For programs; --schema describes it.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of --json.")] = False,
    home: HomeOption = HOME,
) -> None:
    """Who followed whom as primary, why, and how long each part took; --json prints a list of `Failover`."""
    if schema:
        return out.print_json(json.dumps(msgspec.json.schema(list[Failover])))
    place = Place(home)
    with Patience("reading the history"):
        found = asyncio.run(_read(place, limit))
    if as_json:
        return out.print_json(msgspec.json.encode(found).decode())
    return show(found, place.home)


async def _read(place: Place, limit: int) -> list[Failover]:
    async with place.postgres() as postgres:
        return await History(postgres).failovers(limit)


def show(found: list[Failover], home: Home) -> None:
    """Print one block a failover, the newest first."""
    if not found:
        out.print(f"Nobody has been elected yet, so there is no history: `{make('up', home)}` begins it.", markup=False)
    for number, failover in enumerate(found):
        if number:
            out.print()
        show_one(failover)


def show_one(failover: Failover) -> None:
    """Print one failover with its bars."""
    ascii_only = not (out.encoding or "").lower().startswith("utf")
    for text, style in lines_of(failover, width=out.width, ascii_only=ascii_only):
        out.print(text, style=style or None, markup=False)
