"""What the benchmark of queues says of latency: Redis's own, the disk's, the code's; and how it asks the disk."""

from pathlib import Path
from typing import Any

import pytest

from tests.bench.queues.disk import BLOCK, MEMORY, flushes_ms, in_memory
from tests.bench.queues.table import print_table, summed_up

RAW = {"entries_per_s": 20_000, "commands_per_s": 60_000, "latency_ms": {"p50": 1.25, "p99": 2.0}}


def queue(per_s: int, p50: float, p99: float, **more: Any) -> dict[str, Any]:
    return {
        "per_s": {"best": per_s, "median": per_s}, "rounds_per_s": [per_s], "latency_ms": {"p50": p50, "p99": p99},
        "cpu_s_per_1000": {"worker": 0.1}, "cores": {"worker": 0.5}, "machine": 0.5, **more,
    }  # fmt: skip


def nexus(**more: Any) -> dict[str, Any]:
    return queue(9000, 8.0, 110.0, durability={"fsync": "on"}, **more)


def printed(capsys: pytest.CaptureFixture[str], **queues: dict[str, Any]) -> list[str]:
    print_table({"size": {"tasks": 1000}, "queues": queues, **summed_up(queues)})
    return capsys.readouterr().out.splitlines()


def test_latency_is_compared_with_redis_itself_and_raw_is_no_peer() -> None:
    found = summed_up({"nexus": nexus(), "huey": queue(1800, 4.0, 5.0), "raw": RAW})
    assert found["nexus_to_raw_latency"] == {"p50": 6.4, "p99": 55.0}
    assert found["nexus_to_raw_limit"] == 0.45
    assert found["nexus_to_best_peer"]["latency_ms p50"] == {"peer": "huey", "ratio": 2.0}


@pytest.mark.parametrize("raw", [{}, {"failed": "OSError: no port"}, {"entries_per_s": 20_000}])
def test_without_a_raw_latency_there_is_nothing_to_compare_with(raw: dict[str, Any]) -> None:
    assert summed_up({"nexus": nexus(), "raw": raw})["nexus_to_raw_latency"] is None


def test_a_nexus_that_failed_is_compared_with_nothing() -> None:
    assert set(summed_up({"nexus": {"failed": "OSError: no disk"}, "raw": RAW}).values()) == {None}


def test_figures_are_left_as_they_were() -> None:
    figures = {"nexus": nexus(), "raw": dict(RAW)}
    summed_up(figures)
    assert figures == {"nexus": nexus(), "raw": RAW}


def test_whose_time_a_latency_is_stands_below_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    disk, in_memory = {"p50": 0.38, "p99": 65.0, "max": 450.1}, {"p50": 7.2, "p99": 10.9}
    durable = {"p50": 4.0, "p99": 220.0}
    said = printed(capsys, nexus=nexus(raw_durable_ms=durable, disk_ms=disk, latency_ms_in_memory=in_memory), raw=RAW)
    assert said[-6:] == [
        "raw latency: p50 1.25 ms, p99 2.0 ms",
        "nexus / raw latency: p50 6.4, p99 55.0",
        "raw latency with two commits: p50 4.0 ms, p99 220.0 ms",
        "nexus / raw latency with two commits: p50 2.0, p99 0.5",
        "its disk: a flush takes p50 0.38 ms, p99 65.0 ms, max 450.1 ms",
        "its stores in memory: p50 7.2 ms, p99 10.9 ms, what the code itself takes when the disk does not stall",
    ]


def test_memory_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    said = printed(capsys, nexus=nexus(latency_ms_in_memory=None))
    assert said[-1] == "its stores in memory: left out, /dev/shm is missing or has less than 1 GB free"


def test_raw_alone_is_said_without_a_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, raw=RAW)[-1] == "raw latency: p50 1.25 ms, p99 2.0 ms"


def test_figures_from_before_say_what_they_said(capsys: pytest.CaptureFixture[str]) -> None:
    before = {it: RAW[it] for it in ("entries_per_s", "commands_per_s")}
    said = printed(capsys, nexus=nexus(), raw=before)
    assert said[-2:] == ["raw limit: 20000 entries/s, 60000 commands/s", "nexus / raw limit: 0.45"]


async def test_each_flush_is_timed_at_its_pace_and_leaves_nothing_behind(tmp_path: Path) -> None:
    found = await flushes_ms(tmp_path, per_s=1000, count=5)
    assert len(found) == 5
    assert min(found) > 0
    assert list(tmp_path.iterdir()) == []
    assert len(BLOCK) == 8192


def test_a_folder_on_the_disk_is_not_memory(tmp_path: Path) -> None:
    assert in_memory(tmp_path) is None
    assert in_memory(tmp_path / "missing") is None


@pytest.mark.skipif(not MEMORY.is_mount(), reason="no /dev/shm")
def test_memory_has_to_have_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.bench.queues.disk.ENOUGH", 0)
    assert in_memory() == MEMORY
    monkeypatch.setattr("tests.bench.queues.disk.ENOUGH", 1 << 60)
    assert in_memory() is None
