"""Precision and recall of deduplication by rules, with the distances of a real embedder.

    python -m tests.bench.memory [--url http://127.0.0.1:8090/v1] [--keep] --json FILE

Without --url the distances kept in `distances.json` serve, of the bundled embedder through `HttpEmbedder`
(`python -m appliance.embedded.embedder_server PORT`); --keep writes them anew. Exit code 1 when the set of three
languages misses a goal: precision and recall 0.95 each, 0.9 of contradictions resolved to the newer fact, no
instruction kept. What was written after the last change of the rules is shown, not judged.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from agent_image.runner.memory.remembering import radii_of
from appliance.core.embeddings import HttpEmbedder
from appliance.core.memory.deduplication import Radii
from appliance.core.memory.language import LANGUAGES
from appliance.core.settings import load
from appliance.core.vectors import distance
from tests.bench.memory.cases import FOLDER, PARTS, Part, sentences
from tests.bench.memory.figures import Figures, figures, key

KEPT = FOLDER / "distances.json"
GOALS = {"precision": 0.95, "recall": 0.95, "newer": 0.9}
DIGITS = 4


async def measured(url: str) -> dict[str, float]:
    """Return the distance of each pair by an embedder."""
    embedder = HttpEmbedder(load(embedding_url=url))
    texts = sorted({text for pair in sentences() for text in pair})
    try:
        vectors = dict(zip(texts, await embedder.embed(texts), strict=True))
    finally:
        await embedder.aclose()
    return {key(*it): round(distance(vectors[it[0]], vectors[it[1]]), DIGITS) for it in sorted(set(sentences()))}


def kept() -> dict[str, float]:
    """Return the distances that were measured once."""
    distances: dict[str, float] = json.loads(KEPT.read_text())
    return distances


def share(counted: tuple[int, int]) -> float:
    """Return right ones of all; 1 when there are none."""
    return counted[0] / counted[1] if counted[1] else 1.0


def table(distances: dict[str, float], radii: Radii) -> dict[str, dict[str, Figures]]:
    """Return the figures by language and part."""

    def of(languages: tuple[str, ...], parts: tuple[Part, ...]) -> Figures:
        return figures(distances, radii, lambda language, part: language in languages and part in parts)

    groups = {language: (language,) for language in LANGUAGES} | {"all": LANGUAGES}
    rows: dict[str, dict[str, Figures]] = {
        name: {part: of(languages, (part,)) for part in PARTS} for name, languages in groups.items()
    }
    rows["all"]["labelled"] = of(LANGUAGES, PARTS[:3])
    return rows


def missed(labelled: Figures) -> list[str]:
    """Return which goals the labelled set misses."""
    below = [f"{name} {share(getattr(labelled, name)):.3f}, not {goal}" for name, goal in GOALS.items()
             if share(getattr(labelled, name)) < goal]  # fmt: skip
    return below + [f"{labelled.injected[0]} instructions kept"] * bool(labelled.injected[0])


def shown(rows: dict[str, dict[str, Figures]]) -> str:
    """Return the table as text."""
    lines = [f"{'':4} {'':9} {'pairs':>6} {'precision':>14} {'recall':>14} {'newer fact':>14} {'extracted':>10}"
             f" {'erased':>7} {'injected':>9}"]  # fmt: skip
    for language, parts in rows.items():
        for part, it in parts.items():
            shares = [f"{share(one):.3f} ({one[0]}/{one[1]})" for one in (it.precision, it.recall, it.newer)]
            rest = [f"{one[0]}/{one[1]}" for one in (it.extracted, it.erased, it.injected)]
            lines.append(f"{language:4} {part:9} {it.pairs:6} {shares[0]:>14} {shares[1]:>14} {shares[2]:>14}"
                         f" {rest[0]:>10} {rest[1]:>7} {rest[2]:>9}")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Measure, tell, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="", help="an embedding server's address, ending in /v1")
    parser.add_argument("--keep", action="store_true", help=f"write {KEPT.name}")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    distances = asyncio.run(measured(arguments.url)) if arguments.url else kept()
    if arguments.keep:
        KEPT.write_text(json.dumps(distances, indent=0, ensure_ascii=False) + "\n")
    rows = table(distances, radii_of(load()))
    wrong = missed(rows["all"]["labelled"])
    print(shown(rows), *wrong, sep="\n")  # noqa: T201
    if arguments.json:
        found: dict[str, Any] = {
            language: {part: it._asdict() for part, it in parts.items()} for language, parts in rows.items()
        }
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
