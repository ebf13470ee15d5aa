"""Who goes first in an election, and what history tells the others (PROTOCOLS 6.1, rank)."""

from appliance.core.election.decide import Candidate, candidates, rank_of, why_lost
from appliance.core.records import Agent, Role, Status


def an_agent(agent_id: str, **more: object) -> Agent:
    facts: dict[str, object] = {"status": Status.ACTIVE, "boot_alive": True, "electable": True, "config_epoch": 7}
    return Agent(id=agent_id, **(facts | more))  # type: ignore[arg-type]


def order(*agents: Agent, suspect: str = "") -> list[str]:
    return [it.agent for it in candidates(agents, 7, suspect)]


def test_the_least_loaded_goes_first() -> None:
    assert order(an_agent("b", current_load=5), an_agent("c", current_load=2)) == ["c", "b"]


def test_one_epoch_behind_weighs_more_than_any_load() -> None:
    behind, busy = an_agent("b", config_epoch=6), an_agent("c", current_load=999)
    assert order(behind, busy) == ["c", "b"]
    assert [it.score for it in candidates((behind, busy), 7, "")] == [999, 1000]


def test_a_standby_goes_before_everybody() -> None:
    assert order(an_agent("b"), an_agent("c", role=Role.STANDBY, current_load=5, config_epoch=5)) == ["c", "b"]


def test_equals_are_told_apart_by_name() -> None:
    assert order(an_agent("c"), an_agent("b")) == ["b", "c"]


def test_who_may_not_stand_comes_last_with_the_reason() -> None:
    ranked = candidates(
        (
            an_agent("a"),
            an_agent("b", boot_alive=False),
            an_agent("c", electable=False, status=Status.DRAINING),
            an_agent("d", current_load=50),
        ),
        7,
        "a",
    )
    assert [(it.agent, it.out) for it in ranked] == [
        ("d", ""),
        ("a", "suspected itself"),
        ("b", "not alive"),
        ("c", "not electable (draining)"),
    ]


def test_a_rank_is_the_number_of_those_before() -> None:
    ranked = candidates((an_agent("b"), an_agent("c", current_load=3)), 7, "")
    assert [rank_of(ranked, agent) for agent in ("b", "c")] == [0, 1]


def test_who_is_not_in_the_registry_goes_after_everybody() -> None:
    assert rank_of(candidates((an_agent("b"), an_agent("c")), 7, ""), "stranger") == 2


def test_history_says_for_each_other_candidate_why_it_lost() -> None:
    ranked = (
        Candidate("b", 1, ""),
        Candidate("c", 2, ""),
        Candidate("d", 9, ""),
        Candidate("a", 0, "suspected itself"),
    )
    assert why_lost(ranked, "c") == {
        "b": "ranked 1, ahead of c, but slower to the compare-and-set",
        "d": "ranked 3, behind c (score 9, the winner's 2)",
        "a": "suspected itself",
    }


def test_history_can_tell_of_a_winner_that_was_not_in_the_registry() -> None:
    assert why_lost((Candidate("b", 1, ""),), "z") == {"b": "ranked 1, ahead of z, but slower to the compare-and-set"}
