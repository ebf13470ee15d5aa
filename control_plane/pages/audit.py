"""Who did what."""

from typing import Annotated
from urllib.parse import urlencode

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import Parameter, SkipValidation
from litestar.response import Response

from control_plane.pages.common import Asked, Reads, framed
from control_plane.queries.audit import PAGE, AuditReads, Entry, Filter

Log = NamedDependency[SkipValidation[AuditReads]]
Before = Annotated[int | None, Parameter(ge=1, le=2**53)]


@get("/control/audit", operation_id="audit_page", include_in_schema=False)
async def audit(
    request: Asked, queries: Reads, log: Log, person: str = "", action: str = "", subject: str = "",
    before: Before = None, verify: bool = False,
) -> Response[str]:  # fmt: skip
    """What people asked of the cluster, the newest first; with `verify` every hash is counted again."""
    only = Filter(person, action, subject.strip())
    people, actions = await log.choices()
    entries = await log.entries(only, before)
    return await framed(
        request, "audit.html", queries, entries=entries, only=only, people=people, actions=actions, before=before,
        older=_older(only, entries), chain=await log.chain() if verify else None,
    )  # fmt: skip


def _older(only: Filter, entries: list[Entry]) -> str | None:
    """Return the address of the next page under the same filter, or None on the last."""
    if len(entries) < PAGE:
        return None
    chosen = {name: value for name, value in msgspec.structs.asdict(only).items() if value}
    return f"/control/audit?{urlencode(chosen | {'before': entries[-1].id})}"


@get("/control/api/v1/audit", operation_id="get_audit")
async def audit_json(
    log: Log, person: str = "", action: str = "", subject: str = "", before: Before = None
) -> list[Entry]:
    """The same as JSON."""
    return await log.entries(Filter(person, action, subject.strip()), before)


HANDLERS = [audit, audit_json]
