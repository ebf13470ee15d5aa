"""What is remembered while the embedder is away or hangs: kept all the same, compared by rules alone."""

import asyncio

import pytest

from agent_image.runner.memory.remembering import Remembering
from appliance.core.embeddings import HttpEmbedder
from tests.fakes.embedder import FakeEmbedder
from tests.integration.test_remembering import embed, item, living, memories
from tests.memories import Rememberer

__all__ = ["embed", "memories"]


async def test_without_an_embedder_rules_still_find_the_same_and_the_opposite(
    people: Rememberer, memories: Remembering, embedder: FakeEmbedder
) -> None:
    await embedder.stop()

    settled = [
        await memories.keep_one(people.ada, item(text))
        for text in ("I like olives.", "Olives are something I like.", "I hate olives.")
    ]

    assert [it.what for it in settled] == ["kept", "same", "kept"]
    assert await living(people) == ["I hate olives."]


async def test_a_memory_kept_without_a_vector_is_the_sweeps_to_complete(
    people: Rememberer, memories: Remembering, embed: HttpEmbedder, embedder: FakeEmbedder
) -> None:
    await embedder.stop()
    kept = await memories.keep_one(people.ada, item("I like olives."))

    rows = await people.postgres.rows("unembedded_memories", model=embed.model, limit=10)

    assert [str(row["id"]) for row in rows] == [kept.id]


async def test_an_embedder_that_hangs_holds_nobody_up(
    people: Rememberer, embedder: FakeEmbedder, memories: Remembering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_image.runner.memory.remembering.ONE_S", 0.1)
    embedder.mode = "hang"

    async with asyncio.timeout(5):
        settled = await memories.keep_one(people.ada, item("I prefer tea."))

    assert settled.what == "kept"
    assert await living(people) == ["I prefer tea."]
    embedder.mode = ""
