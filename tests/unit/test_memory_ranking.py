"""Two rankings become one, and weights are gentle (Cormack et al. 2009; DESIGN 10)."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from appliance.core.memory.items import Memory, Origin
from appliance.core.memory.ranking import PINNED, foremost, fused, ranked, weight

NOW = datetime(2026, 11, 28, tzinfo=UTC)
IDS = [f"m{n}" for n in range(12)]
rankings = st.lists(st.sampled_from(IDS), unique=True)


def memory(id_: str, *, days: float = 0.0, confidence: float = 1.0, pinned: bool = False) -> Memory:
    return Memory(
        id=id_, no=int(id_[1:]), user_id="u", tenant_id="t", type="fact", text=id_, topics=(), confidence=confidence,
        trust="user", origin=Origin("command"), pinned=pinned, valid_from=NOW - timedelta(days=days), valid_to=None,
        superseded_by=None, superseded_how="", sources=1, version=1, created_at=NOW,
    )  # fmt: skip


def order(near: list[str], told: list[str], **special: Memory) -> list[str]:
    """Ids in their final order; all memories are alike but for the special ones."""
    memories = {it: special.get(it, memory(it)) for it in IDS}
    hits = ranked([(it, 0.1) for it in near], told, memories, now=NOW, limit=len(IDS))
    return [hit.memory.id for hit in hits]


def test_what_is_first_in_both_is_first_and_what_is_in_both_passes_what_is_in_one() -> None:
    assert order(["m1", "m2", "m3"], ["m1", "m4"])[0] == "m1"
    assert order(["m1", "m2"], ["m3", "m2"])[0] == "m2"
    assert fused(["m1"], ["m1"]) == {"m1": 2 / 61}


@given(rankings, rankings)
def test_all_that_was_found_is_there_once(near: list[str], told: list[str]) -> None:
    assert sorted(order(near, told)) == sorted({*near, *told})


@given(rankings, rankings)
def test_neither_ranking_counts_more_than_the_other(near: list[str], told: list[str]) -> None:
    assert order(near, told) == order(told, near)


@given(rankings, rankings, st.integers(0, 12))
def test_the_foremost_leave_out_nothing_that_scores_more(near: list[str], told: list[str], count: int) -> None:
    scores, chosen = fused(near, told), foremost(near, told, count)
    assert len(chosen) == len(set(chosen)) == min(count, len(scores))
    assert all(scores[it] >= max((scores[o] for o in scores.keys() - set(chosen)), default=0) for it in chosen)


@given(rankings, rankings, st.randoms())
def test_the_order_in_which_memories_are_read_changes_nothing(near: list[str], told: list[str], random: object) -> None:
    one = {it: memory(it) for it in IDS}
    other = dict(random.sample(list(one.items()), len(one)))  # type: ignore[attr-defined]
    distances = [(it, 0.1) for it in near]
    assert ranked(distances, told, one, now=NOW, limit=12) == ranked(distances, told, other, now=NOW, limit=12)


@given(rankings.filter(bool), rankings, st.data())
def test_a_pin_never_makes_a_memory_fall(near: list[str], told: list[str], data: st.DataObject) -> None:
    chosen = data.draw(st.sampled_from(near))
    age, confidence = data.draw(st.floats(0, 5000)), data.draw(st.floats(0, 1))
    before = order(near, told, **{chosen: memory(chosen, days=age, confidence=confidence)}).index(chosen)
    after = order(near, told, **{chosen: memory(chosen, days=age, confidence=confidence, pinned=True)}).index(chosen)
    assert after <= before


@given(st.floats(0, 10_000), st.floats(0, 10_000), st.floats(0, 1), st.floats(0, 1))
def test_younger_and_more_certain_never_weigh_less_and_no_weight_is_extreme(
    days: float, more_days: float, confidence: float, more_confidence: float
) -> None:
    older, younger = sorted((days, more_days), reverse=True)
    less, more = sorted((confidence, more_confidence))
    low = weight(memory("m1", days=older, confidence=less), NOW)
    assert low <= weight(memory("m1", days=younger, confidence=more), NOW)
    assert 0.55 < low <= weight(memory("m1", confidence=1.0, pinned=True), NOW) == PINNED


def test_a_memory_of_tomorrow_weighs_as_one_of_today() -> None:
    assert weight(memory("m1", days=-3), NOW) == weight(memory("m1"), NOW) == 1.0


def test_age_turns_the_order_of_neighbours_and_not_of_what_is_far_apart() -> None:
    old = memory("m1", days=3000)
    assert order(["m1", "m2"], [], m1=old) == ["m2", "m1"]
    assert order(["m1", "m2"], ["m1"], m1=old)[0] == "m1"


def test_what_is_no_longer_there_is_left_out_and_a_limit_holds() -> None:
    memories = {"m1": memory("m1"), "m3": memory("m3")}
    near = [("m1", 0.2), ("m2", 0.3), ("m3", 0.4)]
    hits = ranked(near, ["m2"], memories, now=NOW, limit=5)
    assert [(hit.memory.id, hit.distance) for hit in hits] == [("m1", 0.2), ("m3", 0.4)]
    assert len(ranked(near, [], memories, now=NOW, limit=1)) == 1
    assert ranked([], ["m3"], memories, now=NOW, limit=1)[0].distance is None
