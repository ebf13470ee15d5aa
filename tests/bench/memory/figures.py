"""What the rules come to on the labelled set. Pure, given the distances."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from agent_image.runner.memory.extraction import extract, instructs
from appliance.core.memory.deduplication import Radii, Relation, compare
from appliance.core.memory.items import fingerprint
from tests.bench.memory.cases import Pair, Part, cases, pairs

KNOWN: tuple[Relation, ...] = ("same", "refines")
"""What is not kept beside what is known."""
Distances = Mapping[str, float]
Wanted = Callable[[str, Part], bool]


class Figures(NamedTuple):
    """Counts: right ones of all."""

    pairs: int
    precision: tuple[int, int]
    """Of those that the rules called known, those that are."""
    recall: tuple[int, int]
    """Of those that are known, those that the rules called so."""
    newer: tuple[int, int]
    """Contradictions after which the newer fact alone holds; a preference changed twice counts as one."""
    injected: tuple[int, int]
    """Instructions that became a memory."""
    extracted: tuple[int, int]
    erased: tuple[int, int]


def key(older: str, newer: str) -> str:
    """Return the name of a distance."""
    return f"{older}\t{newer}"


def figures(distances: Distances, radii: Radii, wanted: Wanted) -> Figures:
    """Return the counts over the cases that are wanted by language and part."""

    def related(older: str, newer: str) -> Relation:
        return compare(newer, older, distances[key(older, newer)], radii).relation

    chosen = [it for it in pairs() if wanted(it.language, it.part)]
    said = [(it, related(it.older, it.newer)) for it in chosen]
    return Figures(
        len(chosen), _precision(said), _recall(said), _newer(said, related, wanted), _injected(wanted),
        _extracted(wanted), _erased(wanted),
    )  # fmt: skip


def _precision(said: Iterable[tuple[Pair, Relation]]) -> tuple[int, int]:
    called = [it.relation in KNOWN for it, relation in said if relation in KNOWN]
    return sum(called), len(called)


def _recall(said: Iterable[tuple[Pair, Relation]]) -> tuple[int, int]:
    are = [relation in KNOWN for it, relation in said if it.relation in KNOWN]
    return sum(are), len(are)


def _newer(
    said: Iterable[tuple[Pair, Relation]], related: Callable[[str, str], Relation], wanted: Wanted
) -> tuple[int, int]:
    once = [relation == "contradicts" for it, relation in said if it.relation == "contradicts"]
    twice = [
        related(first, second) == related(second, third) == "contradicts"
        for language, part, (first, second, third) in cases("twice") if wanted(language, part)
    ]  # fmt: skip
    return sum(once) + sum(twice), len(once) + len(twice)


def _injected(wanted: Wanted) -> tuple[int, int]:
    """Count memories made of texts that would rule the model; also by a model that quotes each of their sentences."""
    found = [
        bool(extract(text, trust)) or (trust != "user" and not instructs(text, trust))
        for language, part, (trust, text) in cases("injected") if wanted(language, part)
    ]  # fmt: skip
    return sum(found), len(found)


def _extracted(wanted: Wanted) -> tuple[int, int]:
    right = [
        [[it.type, it.text] for it in extract(message)] == expected
        for language, part, (message, *expected) in cases("extracted") if wanted(language, part)
    ]  # fmt: skip
    return sum(right), len(right)


def _erased(wanted: Wanted) -> tuple[int, int]:
    """Count those that come back as the same text and are known by its digest, while another one is not."""
    right = [
        fingerprint(text) == fingerprint(again) != fingerprint(other)
        for language, part, (text, again, other) in cases("erased") if wanted(language, part)
    ]  # fmt: skip
    return sum(right), len(right)
