"""The faults that matter most, once each: what `make faults` measures strictly is here given three times the time."""

from collections.abc import AsyncIterator

import pytest

from tests.faults import rows_processes
from tests.faults.play import Theatre
from tests.faults.rows import ROWS

SLACK = 3.0
HANG_S = 6.0
"""Long enough to be buried."""


@pytest.fixture(scope="module")
async def theatre() -> AsyncIterator[Theatre]:
    running = Theatre(seed="quick")
    yield running
    await running.close()


@pytest.mark.timeout(150)
@pytest.mark.parametrize("number", ["F1", "KR", "F3", "F19", "F34"])
async def test_a_fault_is_survived_and_every_invariant_holds(
    theatre: Theatre, number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_processes, "HANG_S", HANG_S)
    outcome = await theatre.play(ROWS[number], runs=1)
    outcome.judge(ROWS[number], SLACK)
    assert outcome.failures == []
