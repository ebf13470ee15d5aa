"""Authority and work survive any order of steps, on real Redis and PostgreSQL (FAULTS, layer L2)."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from appliance.core.settings import Settings
from tests.authority.machine import Authority
from tests.stores import Stores

EXAMPLES, STEPS = 40, 50


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """A loop of the test's own: the state machine is not a coroutine."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as made:
        yield made


@pytest.fixture
async def config(stores: Stores) -> Settings:
    return await stores.with_own_database()


@pytest.mark.timeout(600)  # what fails is made shorter first
def test_authority_and_work_survive_any_order_of_steps(runner: asyncio.Runner, config: Settings) -> None:
    """What fails is printed as a program: keep it below."""
    machine = cast(Any, lambda: Authority(runner, config))
    run_state_machine_as_test(
        machine,
        settings=settings(
            derandomize=True, max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


# Programs that failed once, or would without a guard ------------------------------------------------------------------


def the_same_boot_claims_again_and_its_first_attempt_ends_late(state: Authority) -> None:
    state.accept(client_id=0, conversation=0, name="a", dead=False)
    state.fall_silent(name="a")
    state.claim(limit=1, name="a", dead=False)
    for step in ("begin_step", "retry", "end"):
        state.finish(pick=0, step=step)
        state.check()
    state.finish(pick=1, step="end")


def a_zombie_of_an_older_term_writes_everywhere(state: Authority) -> None:
    state.beat(can_vote=True, name="a")
    state.stand(back=0, name="a", serves=True, dead=False)
    state.accept(client_id=0, conversation=0, name="a", dead=False)
    state.misfortune(kind="death", name="a")
    state.stand(back=0, name="b", serves=False, dead=False)
    for step in ("renew", "install", "reassert", "tell", "release"):
        state.act_in_redis(pick=0, step=step)
        state.check()
    state.act_in_postgresql(pick=0, sweep="sweep_dead")
    state.finish(pick=0, step="end")


def redis_loses_its_data_between_a_birth_and_its_lease(state: Authority) -> None:
    state.beat(can_vote=True, name="a")
    state.stand(back=0, name="a", serves=True, dead=False)
    state.stand(back=0, name="b", serves=False, dead=False)
    state.misfortune(kind="empty Redis", name="a")
    state.beat(can_vote=True, name="c")
    for pick in (0, 1, 0):
        state.act_in_redis(pick=pick, step="reassert")
        state.act_in_redis(pick=pick, step="install")
        state.check()


@pytest.mark.parametrize(
    "program",
    [
        the_same_boot_claims_again_and_its_first_attempt_ends_late,
        a_zombie_of_an_older_term_writes_everywhere,
        redis_loses_its_data_between_a_birth_and_its_lease,
    ],
)
def test_what_went_wrong_once_goes_right(
    runner: asyncio.Runner, config: Settings, program: Callable[[Authority], None]
) -> None:
    state = Authority(runner, config)
    try:
        program(state)
        state.check()
    finally:
        state.teardown()
