"""All interleavings of an election among three agents, to a stated depth (FAULTS, layer L1).

From each of 16 situations every order of looks, votes, counts, compare-and-sets, installs, renewals, burials, beats and
repairs is walked through, with one more fault anywhere: about 110,000 states in all, 5 to 10 steps from each situation
(DEPTHS), which themselves lie up to a dozen steps from a cluster that runs well. In every state: at most one agent
passes the fence; nobody acts when its lease has run out; a deposed primary that reaches Redis acts for less than a
beat; the epoch in Redis never falls and never exceeds PostgreSQL's; epochs rise by one, each by a quorum, one more
lease or a named successor; a primary that is well is never deposed; and left alone, the cluster comes to one primary
within 24 beats. `python -m tests.explorer` goes further.
"""

from collections.abc import Iterator

import pytest

from appliance.core.election import decide as table
from appliance.core.election.decide import Snapshot
from tests.explorer import stores
from tests.explorer.search import Walk
from tests.explorer.starts import SITUATIONS, start
from tests.explorer.world import Guard

DEPTHS = {
    "a runs well": 8,
    "a runs well beside b alone": 10,
    "a and b lost each other": 6,
    "a has died and both have seen its connections end": 6,
    "a has died and both have voted": 6,
    "a is frozen and its lease about to end": 6,
    "a is frozen and both have voted": 6,
    "a is frozen, and b too after its election": 6,
    "a is cut off and its lease about to end": 6,
    "a handed over to b": 5,
    "a handed over to b and there is no c": 6,
    "a's runner ended": 5,
    "Redis lost its data": 6,
    "Redis was away for three beats": 8,
    "nobody was ever primary": 5,
    "nobody was ever primary and all have voted": 6,
}


@pytest.fixture(autouse=True)
def all_guards_in_place() -> Iterator[None]:
    yield
    stores.OUT.clear()


def test_every_situation_is_walked_from() -> None:
    assert set(DEPTHS) == set(SITUATIONS)


@pytest.mark.parametrize("situation", DEPTHS)
def test_from_every_situation_all_that_must_hold_holds(situation: str) -> None:
    found = Walk(start(situation, 1)).explore(DEPTHS[situation])
    assert found.trouble == "", f"in {found.states} states, {found.depth} steps away:\n{found.trouble}"
    assert found.depth == DEPTHS[situation]


@pytest.mark.parametrize(
    ("guard", "faults", "situation", "trouble"),
    [
        ("compare-and-set", 0, "a has died and both have voted", "not given its second"),
        ("grace", 0, "a is frozen and both have voted", "not given its second"),
        ("serving", 0, "a is frozen and both have voted", "b was well and was deposed"),
        ("quorum", 0, "a is frozen and its lease about to end", "elected without a quorum"),
        ("self-fence", 0, "a is cut off and its lease about to end", "its lease has run out"),
        ("installed once", 0, "a is frozen, and b too after its election", "the epoch in Redis fell"),
        ("given up", 1, "a handed over to b and there is no c", "no primary after 24 quiet beats"),
    ],
)
def test_without_a_guard_the_explorer_finds_what_follows(
    guard: Guard, faults: int, situation: str, trouble: str
) -> None:
    stores.OUT.add(guard)
    assert trouble in Walk(start(situation, faults)).explore(12).trouble


def test_without_the_tables_row_about_tilt_the_explorer_finds_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tuple(row for row in table.TABLE if not row[0](Snapshot(me="a", epoch=1, tilted=True)))
    monkeypatch.setattr(table, "TABLE", rows)
    found = Walk(start("a handed over to b and there is no c", 1)).explore(9)
    assert "elected in tilt" in found.trouble


def test_without_one_more_lease_the_explorer_finds_elections_nobody_agreed_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "EXTRA_LEASE_S", 0.0)
    found = Walk(start("a is frozen and its lease about to end", 0)).explore(9)
    assert "elected without a quorum" in found.trouble


def test_without_the_sole_survivors_rule_the_explorer_finds_clusters_without_a_primary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(table, "EXTRA_LEASE_S", 1e9)
    found = Walk(start("a handed over to b and there is no c", 1)).explore(9)
    assert "no primary after 24 quiet beats" in found.trouble
