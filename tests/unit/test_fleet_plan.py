"""From a wish and what is there to the next steps, with their reasons: every line of the table once."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from msgspec import structs

from appliance.core.desired_fleet import Desired, Wish, agent_id, slot_of
from appliance.core.errors import BadInput
from appliance.core.orders import Order
from appliance.core.records import Agent, ClusterView, Lease, Status
from appliance.core.scaling import checked, preview
from control_plane.fleet import Member, MemberState
from control_plane.plan import Act, Seen, in_flight, steps

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def desired(*slots: int, resting: tuple[int, ...] = ()) -> Desired:
    return Desired(slots, resting, version=1, changed_by="ada", changed_at=NOW)


def runs(*slots: int, state: MemberState = MemberState.RUNNING, detail: str = "") -> tuple[Member, ...]:
    return tuple(Member(agent_id(slot), slot, state, detail) for slot in slots)


def agent(slot: int, load: int = 0, status: Status = Status.ACTIVE, **more: object) -> Agent:
    facts: dict[str, object] = {"boot_alive": True, "electable": status is Status.ACTIVE}
    return Agent(agent_id(slot), status=status, current_load=load, **facts | more)  # type: ignore[arg-type]


def view(*agents: Agent, primary: int | None = 1) -> ClusterView:
    lease = Lease(agent_id(primary), "boot", 1, 0) if primary else None
    return ClusterView(agents=agents, generation="g", epoch=1, redis_time=0, lease=lease)


def drains(slot: int) -> Order:
    return Order(uuid4(), "drain", agent_id(slot), 60, "ada", NOW)


def next_of(seen: Seen) -> list[tuple[Act, str]]:
    return [(step.act, step.agent_id) for step in steps(seen)]


def test_a_fleet_as_wished_needs_nothing() -> None:
    seen = Seen(desired(1, 2), runs(1, 2), view(agent(1), agent(2)))
    assert (steps(seen), in_flight(seen)) == ((), False)


def test_more_agents_take_the_lowest_free_slots() -> None:
    found = preview(4, desired(1, 3), view(agent(1), agent(3)))
    assert (found.wish, found.sentence) == (Wish((1, 2, 3, 4)), "2 → 4: starts agent-2, agent-4.")


def test_fewer_agents_lose_who_does_not_run_then_the_least_loaded_and_the_primary_last() -> None:
    now, seen = desired(1, 2, 3, 4), view(agent(1, 0), agent(2, 3), agent(3, 1))
    assert preview(3, now, seen).sentence == "4 → 3: drains agent-4 (does not run)."
    assert preview(2, now, seen).leaves == ("agent-4", "agent-3")
    assert preview(2, now, seen).wish == Wish((1, 2))
    found = preview(1, now, seen)
    assert found.wish == Wish((1,))
    assert found.sentence == "4 → 1: drains agent-4 (does not run), agent-3 (load 1), agent-2 (load 3)."


def test_the_least_loaded_is_named_as_such() -> None:
    seen = view(agent(1), agent(2, 1), agent(3, 5))
    assert preview(2, desired(1, 2, 3), seen).sentence == "3 → 2: drains agent-2 (load 1, the least)."


def test_the_number_there_is_changes_nothing_and_resting_slots_go_on_resting() -> None:
    now, seen = desired(1, 2, resting=(2,)), view(agent(1))
    assert preview(2, now, seen).wish == Wish((1, 2), (2,))
    assert preview(3, now, seen).wish == Wish((1, 2, 3), (2,))
    assert preview(1, now, seen).wish == Wish((1,))


def test_who_rests_leaves_before_anybody_who_works() -> None:
    now, seen = desired(1, 2, 3, resting=(2,)), view(agent(1), agent(2, 4, Status.DRAINING), agent(3))
    found = preview(2, now, seen)
    assert (found.wish, found.sentence) == (Wish((1, 3)), "3 → 2: drains agent-2 (rests already).")
    leads = preview(1, desired(1, 2, resting=(1,)), view(agent(1), agent(2)))
    assert leads.wish == Wish((2,)), "a primary on its way out is not whom to keep"


def test_without_redis_the_newest_leave_and_their_load_is_not_known() -> None:
    assert preview(2, desired(1, 2, 3), None).sentence == "3 → 2: drains agent-3 (its load is not known)."


@pytest.mark.parametrize("state", [None, MemberState.STOPPED])
def test_who_is_wished_for_and_does_not_run_is_started(state: MemberState | None) -> None:
    there = runs(2, state=state) if state else ()
    assert next_of(Seen(desired(1, 2), (*runs(1), *there), view(agent(1)))) == [(Act.START, "agent-2")]


def test_agents_are_started_even_while_redis_is_away() -> None:
    assert next_of(Seen(desired(1, 2), runs(1), None)) == [(Act.START, "agent-2")]


@pytest.mark.parametrize("state", [MemberState.STARTING, MemberState.FROZEN, MemberState.LEAVING])
def test_who_is_on_the_way_is_left_alone(state: MemberState) -> None:
    for known in (view(agent(1)), view(agent(1), agent(2))):
        seen = Seen(desired(1, 2), (*runs(1), *runs(2, state=state)), known)
        assert (steps(seen), in_flight(seen)) == ((), True)


def test_a_crashing_agent_is_shown_with_its_reason_and_not_started_again() -> None:
    crashes = runs(2, state=MemberState.CRASHING, detail="exited: no such model")
    [step] = steps(Seen(desired(1, 2), (*runs(1), *crashes), view(agent(1))))
    assert (step.act, step.agent_id, step.why) == (Act.WAIT, "agent-2", "exited: no such model")


def test_who_is_not_wished_for_drains_then_is_removed() -> None:
    wish, both = desired(1), runs(1, 2)
    assert next_of(Seen(wish, both, view(agent(1), agent(2)))) == [(Act.DRAIN, "agent-2")]
    busy = view(agent(1), agent(2, 3, Status.DRAINING))
    [waits] = steps(Seen(wish, both, busy, (drains(2),)))
    assert (waits.act, waits.why) == (Act.WAIT, "drains, 3 turns left")
    assert next_of(Seen(wish, both, view(agent(1), agent(2, 0, Status.DRAINING)))) == [(Act.REMOVE, "agent-2")]
    dead = agent(2, 0, Status.DRAINING, boot_alive=False)
    assert next_of(Seen(wish, both, view(agent(1), dead))) == [(Act.REMOVE, "agent-2")]
    assert next_of(Seen(wish, runs(1), view(agent(1), dead))) == []


def test_who_has_just_drained_but_still_looks_active_is_not_told_to_drain_again() -> None:
    ended = structs.replace(drains(2), ended_at=NOW, outcome="drained: 0 turns were running, 0.0 s")
    [step] = steps(Seen(desired(1), runs(1, 2), view(agent(1), agent(2)), (ended,)))
    assert (step.act, step.why) == (Act.WAIT, "has drained, and will say so in a moment")
    refused = structs.replace(ended, outcome="not drained: 3 of 3 left, 63.0 s")
    assert next_of(Seen(desired(1), runs(1, 2), view(agent(1), agent(2)), (refused,))) == [(Act.DRAIN, "agent-2")]


def test_an_agent_of_nobodys_fleet_is_not_stopped() -> None:
    seen = Seen(desired(1), runs(1), view(agent(1), Agent("visitor"), agent(7)))
    assert next_of(seen) == []


def test_who_rests_is_stopped_and_kept() -> None:
    wish = desired(1, 2, resting=(2,))
    assert next_of(Seen(wish, runs(1, 2), view(agent(1), agent(2)))) == [(Act.DRAIN, "agent-2")]
    drained = view(agent(1), agent(2, 0, Status.DRAINING))
    assert next_of(Seen(wish, runs(1, 2), drained)) == [(Act.STOP, "agent-2")]
    seen = Seen(wish, (*runs(1), *runs(2, state=MemberState.STOPPED)), view(agent(1)))
    assert (steps(seen), in_flight(seen)) == ((), False)


def test_nobody_is_drained_while_redis_is_away() -> None:
    assert next_of(Seen(desired(1), runs(1, 2), None)) == [(Act.WAIT, "agent-2")]


def test_the_primary_hands_its_seat_to_the_least_loaded_who_stays_before_it_drains() -> None:
    wish = desired(2, 3)
    [step] = steps(Seen(wish, runs(1, 2, 3), view(agent(1), agent(2, 5), agent(3, 2))))
    assert (step.act, step.agent_id, step.other) == (Act.SWITCH_OVER, "agent-1", "agent-3")
    nobody = view(agent(1), agent(2, electable=False), agent(3, electable=False))
    [step] = steps(Seen(wish, runs(1, 2, 3), nobody))
    assert (step.act, step.why) == (Act.WAIT, "is the primary, and nobody who stays may follow")


def test_a_switchover_that_is_under_way_is_waited_for() -> None:
    """Asked for a second time just after its end, it would be a new one."""
    order = Order(uuid4(), "switchover", "agent-2", 10, "ada", NOW)
    [step] = steps(Seen(desired(2), runs(1, 2), view(agent(1), agent(2)), (order,)))
    assert (step.act, step.why) == (Act.WAIT, "is the primary, and hands its seat over")


def test_the_last_that_answers_waits_for_another() -> None:
    starting = agent(2, 0, Status.STARTING)
    assert next_of(Seen(desired(2), runs(1, 2), view(agent(1), starting, primary=None))) == [(Act.WAIT, "agent-1")]


def test_who_is_wished_for_again_while_it_drains_is_started_anew_once_it_has() -> None:
    draining, both = view(agent(1), agent(2, 1, Status.DRAINING)), runs(1, 2)
    assert next_of(Seen(desired(1, 2), both, draining, (drains(2),))) == [(Act.WAIT, "agent-2")]
    assert next_of(Seen(desired(1, 2), both, draining)) == [(Act.RESTART, "agent-2")]


@pytest.mark.parametrize(
    ("number", "why"),
    [
        ("two", "not a whole number"),
        ("", "not a whole"),
        (0, "at least one"),
        (-1, "at least one"),
        (51, "more than the 50"),
    ],
)
def test_a_number_that_cannot_be_is_refused_with_what_may(number: int | str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        checked(number, at_most=50)


@pytest.mark.parametrize(
    ("name", "slot"),
    [("agent-1", 1), ("agent-12", 12), ("agent-0", None), ("agent-01", None), ("agent-x", None), ("agent-", None),
     ("visitor", None), ("agent-999999", None), ("agent-٣", None)],
)  # fmt: skip
def test_only_a_fleets_own_names_have_a_slot(name: str, slot: int | None) -> None:
    assert slot_of(name) == slot
