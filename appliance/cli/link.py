"""`nexus link`: a sign-in link, for the administrator or for somebody else; it also says what a person may do."""

import asyncio
from typing import Annotated, Literal
from uuid import uuid4

import typer

from appliance.cli.common import ADMIN, HOME, HomeOption, Place, link_for, new_link, out
from appliance.cli.progress import Patience
from appliance.core.errors import BadInput
from appliance.core.postgres import Postgres
from appliance.core.records import DEFAULT_TENANT

MAX_NAME = 200
Role = Literal["viewer", "operator", "admin"]


def link(
    user: Annotated[str, typer.Option(help="For whom; the administrator without it.")] = "",
    role: Annotated[Role | None, typer.Option(help="What they may do from now on; needed for somebody new.")] = None,
    home: HomeOption = HOME,
) -> None:
    """Print a new sign-in link: it works once, for 15 minutes."""
    if role and not user:
        raise BadInput("--role goes with --user: whose role is it?")
    place = Place(home)
    with Patience("making a link"):
        made = asyncio.run(_link(place, checked(user), role) if user else new_link(place))
    out.print(made, markup=False)


def checked(name: str) -> str:
    """Return a name a person can have. Pure.

    Raises:
        BadInput: it is empty, too long, or cannot be printed.
    """
    name = name.strip()
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise BadInput(f"A name has 1 to {MAX_NAME} printable characters.")
    return name


async def _link(place: Place, name: str, role: Role | None) -> str:
    async with place.postgres() as postgres:
        return await link_for(place, postgres, await _person(postgres, name, role))


async def _person(postgres: Postgres, name: str, role: Role | None) -> str:
    """Return a person's id; made, or given another role, when one is named.

    Raises:
        BadInput: nobody is called so, and no role was named.
    """
    if role is None:
        row = await postgres.row("user_by_name", tenant=DEFAULT_TENANT, name=name)
        if row is None:
            raise BadInput(f"Nobody is called {name!r} yet: add --role viewer, operator or admin.")
        return str(row["id"])
    given = {"tenant": DEFAULT_TENANT, "name": name, "role": role, "by": ADMIN, "trace": uuid4().hex}
    return str(await postgres.value("give_role", **given))
