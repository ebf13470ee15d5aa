"""The election's table, row by row: who votes, counts, stands or waits, and why (PROTOCOLS 6.4)."""

import pytest

from appliance.core.election.decide import (
    EXTRA_LEASE_S,
    SHOWN_WITHIN_S,
    TABLE,
    Act,
    Snapshot,
    Tally,
    TallyVerdict,
    decide,
    evidence_of,
)


def seen(**more: object) -> Snapshot:
    """Return what agent b sees when a, who holds epoch 7, has no lease any more; nothing was done yet."""
    facts: dict[str, object] = {"me": "b", "epoch": 7, "holder": "a", "holder_boot": "boot-a"}
    return Snapshot(**(facts | more))  # type: ignore[arg-type]


def counted(verdict: TallyVerdict, *voters: str, quorum: int = 2, **more: object) -> Snapshot:
    """Return what b sees once it has voted and Redis has counted."""
    return seen(voted=True, tally=Tally(verdict, quorum, voters), **more)


def test_a_primary_waits_whatever_speaks_against_it() -> None:
    verdict = decide(seen(i_lead=True, ended=True, released=True, successor="b"))
    assert (verdict.act, verdict.reason) == (Act.WAIT, "I am the primary of epoch 7")


@pytest.mark.parametrize("more", [{}, {"ended": True}, {"released": True, "successor": "b"}, {"released": True}])
def test_an_agent_in_tilt_neither_votes_nor_stands(more: dict[str, object]) -> None:
    verdict = decide(seen(tilted=True, **more))
    assert (verdict.act, verdict.reason) == (Act.WAIT, "in tilt: I do not trust my own view")


def test_an_agent_in_tilt_does_not_use_the_votes_it_has() -> None:
    assert decide(counted("yes", "b", "c", tilted=True)).act is Act.WAIT


@pytest.mark.parametrize("more", [{}, {"ended": True}, {"released": True, "successor": "b"}])
def test_nobody_votes_or_stands_while_postgresql_is_away(more: dict[str, object]) -> None:
    verdict = decide(seen(postgres_away=True, **more))
    assert verdict.act is Act.WAIT
    assert "PostgreSQL is away" in verdict.reason


def test_a_named_successor_stands_without_a_vote() -> None:
    verdict = decide(seen(released=True, successor="b"))
    assert (verdict.act, verdict.reason, verdict.sole) == (Act.STAND, "named as successor by a", False)


def test_a_named_successor_waits_until_the_old_lease_has_gone() -> None:
    assert decide(seen(released=True, successor="b", lease_there=True)).act is Act.WAIT


def test_a_named_successor_that_may_not_stand_does_not() -> None:
    assert decide(seen(released=True, successor="b", cannot_stand="secondary, draining")).act is Act.VOTE


def test_a_switchover_goes_on_while_automatic_failover_is_paused() -> None:
    assert decide(seen(released=True, successor="b", paused=True)).act is Act.STAND


def test_who_was_not_named_leaves_the_seat_to_the_successor() -> None:
    verdict = decide(seen(released=True, successor="c"))
    assert (verdict.act, verdict.reason) == (Act.WAIT, "c is named successor")


def test_a_seat_given_up_without_a_successor_is_voted_on_at_once() -> None:
    verdict = decide(seen(released=True))
    assert (verdict.act, verdict.reason) == (Act.VOTE, "a is gone (released)")


def test_a_lease_in_redis_is_respected() -> None:
    verdict = decide(seen(lease_there=True))
    assert (verdict.act, verdict.reason) == (Act.WAIT, "a holds epoch 7")


def test_an_ended_connection_speaks_against_a_lease_that_has_not_moved_since() -> None:
    verdict = decide(seen(lease_there=True, ended=True))
    assert (verdict.act, verdict.reason) == (Act.VOTE, "a is gone (eof)")


def test_a_lease_renewed_after_the_connection_ended_is_life() -> None:
    verdict = decide(seen(lease_there=True, ended=True, lease_moved=True))
    assert verdict.act is Act.WAIT
    assert "it lives" in verdict.reason


def test_nobody_votes_while_automatic_failover_is_paused() -> None:
    verdict = decide(seen(paused=True))
    assert (verdict.act, verdict.reason) == (Act.WAIT, "automatic failover is paused")


def test_a_term_born_just_now_has_a_moment_to_show_its_lease() -> None:
    """Who lost the compare-and-set must not vote against the winner before it could show that it won."""
    verdict = decide(seen(born_s=0.25))
    assert (verdict.act, verdict.reason) == (Act.WAIT, "a was elected 0.2 s ago: its lease will show")
    assert decide(seen(born_s=SHOWN_WITHIN_S)).act is Act.VOTE


@pytest.mark.parametrize("more", [{"ended": True}, {"holder_dead": True}, {"released": True}])
def test_a_term_born_just_now_is_not_waited_for_when_its_holder_is_known_to_be_gone(more: dict[str, object]) -> None:
    assert decide(seen(born_s=0.25, **more)).act is Act.VOTE


def test_a_holder_that_answers_that_it_holds_the_term_is_left_alone() -> None:
    verdict = decide(seen(holder_claims=True))
    assert verdict.act is Act.WAIT
    assert "my own path to Redis is bad" in verdict.reason


def test_a_missing_lease_is_voted_on() -> None:
    verdict = decide(seen())
    assert (verdict.act, verdict.reason) == (Act.VOTE, "a is gone (lease)")


def test_the_first_primary_is_voted_on_too() -> None:
    verdict = decide(seen(epoch=0, holder="", holder_boot=""))
    assert (verdict.act, verdict.reason) == (Act.VOTE, "the first primary is gone (first)")


def test_an_agent_that_may_not_stand_votes_all_the_same_and_then_waits() -> None:
    assert decide(seen(cannot_stand="secondary, active")).act is Act.VOTE
    verdict = decide(counted("yes", "b", "c", cannot_stand="secondary, active"))
    assert (verdict.act, verdict.reason) == (Act.WAIT, "voted; I may not stand: secondary, active")


def test_a_worse_candidate_gives_the_better_one_its_time() -> None:
    verdict = decide(counted("yes", "b", "c", turn_in_s=0.05))
    assert verdict.act is Act.WAIT
    assert "better candidate goes first for 0.05 s" in verdict.reason


def test_who_has_voted_has_the_votes_counted() -> None:
    assert decide(seen(voted=True)).act is Act.COUNT


def test_with_a_quorum_it_stands() -> None:
    verdict = decide(counted("yes", "b", "c"))
    assert (verdict.act, verdict.sole) == (Act.STAND, False)
    assert verdict.reason == "2 votes (2 needed) that a is gone (lease)"


def test_without_a_quorum_it_waits_for_one_more_lease() -> None:
    verdict = decide(counted("few", "b", absent_s=EXTRA_LEASE_S - 0.01))
    assert (verdict.act, verdict.reason) == (Act.WAIT, "few: 1 vote (2 needed)")


def test_after_one_more_lease_without_a_quorum_it_goes_on_alone_and_says_so() -> None:
    verdict = decide(counted("few", "b", absent_s=EXTRA_LEASE_S))
    assert (verdict.act, verdict.sole) == (Act.STAND, True)
    assert verdict.reason == "sole survivor: no lease for 2.0 s and only 1 vote (2 needed)"


def test_nobody_goes_on_alone_against_a_lease_that_is_there() -> None:
    assert decide(counted("few", "b", absent_s=60, lease_there=True, ended=True)).act is Act.WAIT


@pytest.mark.parametrize("verdict", ["overtaken", "alive", "unconfirmed"])
def test_only_a_lack_of_votes_is_mended_by_waiting(verdict: TallyVerdict) -> None:
    said = decide(counted(verdict, "b", absent_s=60))
    assert said.act is Act.WAIT
    assert said.reason.startswith(verdict)


@pytest.mark.parametrize(
    ("more", "evidence"),
    [
        ({"holder": ""}, "first"),
        ({"ended": True}, "eof"),
        ({}, "lease"),
        ({"released": True, "ended": True}, "released"),
        ({"released": True, "successor": "b"}, "switchover"),
    ],
)
def test_what_speaks_against_the_holder_has_a_name(more: dict[str, object], evidence: str) -> None:
    assert evidence_of(seen(**more)) == evidence


def test_each_row_of_the_table_decides_something_of_its_own() -> None:
    """Without a row, the case it is there for would be decided otherwise."""
    cases = [
        seen(i_lead=True),
        seen(tilted=True),
        seen(postgres_away=True),
        seen(released=True, successor="b"),
        seen(released=True, successor="c"),
        seen(lease_there=True),
        seen(lease_there=True, lease_moved=True, ended=True),
        seen(born_s=0.2),
        seen(paused=True),
        seen(holder_claims=True),
        seen(),
        seen(voted=True, cannot_stand="draining"),
        seen(voted=True, turn_in_s=0.05),
    ]
    first = [next(number for number, (applies, _, _) in enumerate(TABLE) if applies(case)) for case in cases]
    assert first == list(range(len(TABLE)))
    for number, case in enumerate(cases):
        later = next((act for applies, act, _ in TABLE[number + 1 :] if applies(case)), Act.COUNT)
        assert later is not TABLE[number][1], f"row {number} changes nothing"
