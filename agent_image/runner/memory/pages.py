"""The page of what is remembered of its reader: ask, do, show. Every form works without JavaScript."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, cast, get_args
from urllib.parse import urlencode

from litestar import get, post
from litestar.response import Redirect, Response

from agent_image.runner.memory import words
from agent_image.runner.memory.api import BY_PAGE, SURE, Asked, Service, which
from agent_image.runner.memory.memories import MemoryService
from appliance.core.errors import BadInput, Conflict
from appliance.core.memory.items import KINDS, MAX_TEXT, Kind
from appliance.core.memory.ranking import Hit
from appliance.core.memory.store import PAGE
from appliance.web.protection import readable_form
from appliance.web.rendering import page

SEE_OTHER: Literal[303] = 303
FOUND = 20


@get("/memories", include_in_schema=False)
async def show_all(
    request: Asked, memories: Service, q: str = "", type: str = "", closed: bool = False, before: int | None = None
) -> Response[str]:
    """What is remembered, the newest first; with `q` what fits it best. `closed`: also what holds no longer."""
    return await _all(request, memories, q.strip(), _kind(type), closed=closed, before=before)


@post("/memories", include_in_schema=False)
async def add(request: Asked, memories: Service) -> Response[Any]:
    """Have something remembered; what cannot be comes back with the reason, nothing lost."""
    form = await readable_form(request)
    text = form.get("text", "")
    try:
        memory, _ = await memories.remember(request.user, text, BY_PAGE, type_=_kind(form.get("type", "")))
    except (BadInput, Conflict) as refused:
        return await _all(request, memories, "", None, refused=refused, text=text)
    return Redirect(f"/memories#m{memory.no}", status_code=SEE_OTHER)


@get("/memories/erase", include_in_schema=False)
async def ask_twice(request: Asked, memories: Service) -> Response[str]:
    """What erasing everything means, before it is done."""
    count = (await memories.store.count(request.user)).kept
    return page(request, "erase_all.html", count=count, sure=SURE, refused="")


@post("/memories/erase", include_in_schema=False)
async def erase_all(request: Asked, memories: Service) -> Response[Any]:
    """Erase everything, for good."""
    form = await readable_form(request)
    if form.get("confirm", "").strip().lower() != SURE:
        count = (await memories.store.count(request.user)).kept
        said = f"Nothing was erased: write “{SURE}” into the field."
        return page(request, "erase_all.html", status=400, count=count, sure=SURE, refused=said)
    await memories.erase_all(request.user)
    return Redirect("/memories", status_code=SEE_OTHER)


@get("/memories/{memory:str}", include_in_schema=False)
async def show_one(request: Asked, memories: Service, memory: str) -> Response[str]:
    """One memory: where it was said, what it was before, and what can be done with it."""
    return await _one(request, memories, memory)


@post("/memories/{memory:str}/correct", include_in_schema=False)
async def correct(request: Asked, memories: Service, memory: str) -> Response[Any]:
    """Replace what it says; what cannot be kept comes back with the reason."""
    form = await readable_form(request)
    text = form.get("text", "")
    try:
        corrected = await memories.correct(request.user, which(memory), text, BY_PAGE)
    except BadInput as refused:
        return await _one(request, memories, memory, refused=refused, text=text)
    return Redirect(f"/memories/{corrected.no}", status_code=SEE_OTHER)


@post("/memories/{memory:str}/pin", include_in_schema=False)
async def pin(request: Asked, memories: Service, memory: str) -> Redirect:
    """Pin it, or no longer."""
    form = await readable_form(request)
    pinned = await memories.pin(request.user, which(memory), form.get("pinned") == "1")
    return Redirect(f"/memories/{pinned.no}", status_code=SEE_OTHER)


@post("/memories/{memory:str}/erase", include_in_schema=False)
async def erase(request: Asked, memories: Service, memory: str) -> Redirect:
    """Erase it with all it grew from, for good."""
    await readable_form(request)
    await memories.erase(request.user, which(memory))
    return Redirect("/memories", status_code=SEE_OTHER)


def _kind(typed: str) -> Kind | None:
    """Return the type somebody chose; None for any.

    Raises:
        BadInput: there is no such type.
    """
    if not typed:
        return None
    if typed not in get_args(Kind):
        raise BadInput(f"A memory is of one of these types: {', '.join(KINDS)}.")
    return cast(Kind, typed)


async def _all(
    request: Asked, memories: MemoryService, query: str, type_: Kind | None, *, closed: bool = False,
    before: int | None = None, refused: BadInput | Conflict | None = None, text: str = "",
) -> Response[str]:  # fmt: skip
    hits: Sequence[Hit]
    if query:
        hits, note = await memories.search(request.user, query, limit=FOUND, types=(type_,) if type_ else ())
        following = ""
    else:
        listed = await memories.store.listing(request.user, living=not closed, type_=type_, before=before)
        hits, note = [Hit(it, None, 0.0) for it in listed], ""
        rest = {"type": type_ or "", "closed": str(closed).lower(), "before": listed[-1].no if listed else 0}
        following = f"/memories?{urlencode(rest)}" if len(listed) == PAGE else ""
    return page(
        request, "memories.html", status=refused.status if refused else 200, hits=hits, note=note, query=query,
        type=type_ or "", types=KINDS, closed=closed, before=before, following=following, refused=refused, text=text,
        words=words, max_text=MAX_TEXT, today=datetime.now(UTC).date(),
    )  # fmt: skip


async def _one(
    request: Asked, memories: MemoryService, memory: str, *, refused: BadInput | None = None, text: str = ""
) -> Response[str]:
    found = await memories.store.get(request.user, which(memory))
    chain = await memories.store.chain(request.user, found.id)
    sources = await memories.store.sources(request.user, found.id)
    return page(
        request, "memory_page.html", status=refused.status if refused else 200, memory=found, sources=sources,
        chain=[it for it in chain if it.id != found.id], heir=next((it for it in chain if it.living), None),
        refused=refused, text=text or found.text, words=words, max_text=MAX_TEXT,
    )  # fmt: skip


HANDLERS = [show_all, add, ask_twice, erase_all, show_one, correct, pin, erase]
