"""`nexus link`: for whom, with which role; what the role allows is kept in the row and in the audit log."""

from collections.abc import AsyncIterator

import pytest

from appliance.cli.link import Role, _person, checked
from appliance.core.errors import BadInput
from appliance.core.postgres import Postgres
from tests.stores import Stores


@pytest.fixture
async def postgres(stores: Stores) -> AsyncIterator[Postgres]:
    """A database where nobody is known yet."""
    own = Postgres(await stores.with_own_database(), application="test")
    await own.open()
    yield own
    await own.aclose()


async def role_of(postgres: Postgres, name: str) -> str:
    row = await postgres.row("user_by_name", tenant="default", name=name)
    assert row is not None
    return str(row["role"])


async def test_a_new_person_needs_a_role_and_keeps_it(postgres: Postgres) -> None:
    with pytest.raises(BadInput, match="--role"):
        await _person(postgres, "vera", None)
    made = await _person(postgres, "vera", "viewer")
    assert await _person(postgres, "vera", None) == made
    assert await role_of(postgres, "vera") == "viewer"


async def test_a_role_that_changes_is_audited_and_one_that_stays_is_not(postgres: Postgres) -> None:
    roles: tuple[Role, ...] = ("viewer", "operator", "operator")
    for role in roles:
        await _person(postgres, "vera", role)
    assert await role_of(postgres, "vera") == "operator"
    entries = await postgres.rows("audit_entries", before=None, person="", action="give role", subject="", limit=9)
    assert [(it["subject"], it["detail"]) for it in entries] == [
        ("vera", {"role": "operator", "before": "viewer"}),
        ("vera", {"role": "viewer", "before": None}),
    ]


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 201])
def test_a_name_that_nobody_can_have_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="printable"):
        checked(name)
    assert checked(" vera ") == "vera"
