"""The JSON face of memories: each person sees and changes their own only."""

from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import Parameter, SkipValidation
from litestar.response import Response

from agent_image.runner.memory import words
from agent_image.runner.memory.memories import MemoryService
from appliance.core.errors import BadInput
from appliance.core.memory.items import Kind, Memory, Origin
from appliance.core.memory.store import PAGE

Service = NamedDependency[SkipValidation[MemoryService]]
Asked = Request[Any, Any, Any]
Limit = Annotated[int, Parameter(ge=1, le=200)]
BY_PAGE = Origin("page")
SURE = "erase all"


class NewMemory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /memories; without a `type` it is guessed."""

    text: str
    type: Kind | None = None
    topics: tuple[str, ...] = ()


class Correction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /memories/{memory}/correction: what it is to say."""

    text: str


class Pin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /memories/{memory}/pin."""

    pinned: bool = True


class Sure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /memories/erase-all: the words `erase all`."""

    confirm: str = ""


class MemoriesSeen(msgspec.Struct, frozen=True):
    """Some memories; `note`: what their search had to do without."""

    memories: list[Memory]
    note: str = ""


class MemorySeen(msgspec.Struct, frozen=True):
    """One memory, where it was said, and what it grew from and became."""

    memory: Memory
    link: str
    """Address of the message it comes from; '' when it comes from none."""
    sources: tuple[Origin, ...]
    chain: tuple[Memory, ...]


class MemoryApi(Controller):
    """Memories as JSON under /api/v1. `{memory}` is an id or a number."""

    path = "/api/v1/memories"
    tags = ("memories",)

    @get(operation_id="list_memories")
    async def listing(
        self, request: Asked, memories: Service, q: str = "", type: Kind | None = None,
        topic: str | None = None, before: int | None = None, limit: Limit = PAGE,
    ) -> MemoriesSeen:  # fmt: skip
        """What is remembered of you: the newest first, with `q` what fits it best. `before`: the last number seen."""
        if q.strip():
            return MemoriesSeen(*await memories.find(request.user, q, limit=limit, types=(type,) if type else ()))
        store = memories.store
        return MemoriesSeen(await store.listing(request.user, type_=type, topic=topic, before=before, limit=limit))

    @post(operation_id="create_memory")
    async def create(self, request: Asked, memories: Service, data: NewMemory) -> Memory:
        """Have something remembered; the same text again is the same memory."""
        memory, _ = await memories.remember(request.user, data.text, BY_PAGE, type_=data.type, topics=data.topics)
        return memory

    @get("/export", operation_id="export_memories")
    async def export(self, request: Asked, memories: Service) -> Response[list[Memory]]:
        """Everything that is remembered of you, with what holds no more, as a file."""
        name = {"Content-Disposition": 'attachment; filename="memories.json"', "Cache-Control": "no-store"}
        return Response(await memories.export(request.user), headers=name)

    @post("/erase-all", operation_id="erase_all_memories", status_code=200)
    async def erase_all(self, request: Asked, memories: Service, data: Sure) -> dict[str, int]:
        """Erase everything that is remembered of you, for good."""
        if data.confirm != SURE:
            raise BadInput(f'This erases everything that is remembered of you: send {{"confirm": "{SURE}"}} to do it.')
        return {"erased": await memories.erase_all(request.user)}

    @get("/{memory:str}", operation_id="get_memory")
    async def show(self, request: Asked, memories: Service, memory: str) -> MemorySeen:
        """One memory, where it was said, and what it grew from and became."""
        found = await memories.store.get(request.user, which(memory))
        sources = await memories.store.sources(request.user, found.id)
        chain = await memories.store.chain(request.user, found.id)
        return MemorySeen(found, words.link_of(found), tuple(sources), tuple(chain))

    @post("/{memory:str}/correction", operation_id="correct_memory", status_code=200)
    async def correct(self, request: Asked, memories: Service, memory: str, data: Correction) -> Memory:
        """Replace what it says; the answer is the memory that says it now."""
        return await memories.correct(request.user, which(memory), data.text, BY_PAGE)

    @post("/{memory:str}/pin", operation_id="pin_memory", status_code=200)
    async def pin(self, request: Asked, memories: Service, memory: str, data: Pin) -> Memory:
        """Pin it, or with `pinned` false no longer."""
        return await memories.pin(request.user, which(memory), data.pinned)

    @delete("/{memory:str}", operation_id="erase_memory")
    async def erase(self, request: Asked, memories: Service, memory: str) -> None:
        """Erase it with all it grew from and became, for good; it is not learned again from old conversations."""
        await memories.erase(request.user, which(memory))


def which(memory: str) -> str | int:
    """Return the number or the id that a path names."""
    return int(memory) if memory.isascii() and memory.isdigit() and len(memory) < 10 else memory
