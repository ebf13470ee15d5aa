"""Plays rows: each run of each row on a whole cluster, then lets everything go on, then audits."""

import asyncio
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec

from appliance.embedded.secrets import GENERATED, read_secret
from tests.bench.load import percentile
from tests.faults.auditor import audit, checked
from tests.faults.facts import Facts
from tests.faults.fenced import Count
from tests.faults.rows import Row, Running
from tests.faults.scene import Scene, Stage

RUN_WITHIN_S = 120.0
STARTS_WITHIN_S = 90.0
KEPT = Path("build/faults")
"""Here lies what everybody logged in a run that failed: a fault that shows once in fifty runs is not called again."""


class Outcome(msgspec.Struct):
    """What the runs of one row showed."""

    row: str
    runs: int = 0
    failures: list[str] = msgspec.field(default_factory=list)
    measured: dict[str, list[float]] = msgspec.field(default_factory=dict)
    elections: list[int] = msgspec.field(default_factory=list)
    seconds: float = 0.0

    def take(self, scene: Scene) -> None:
        """Add what one run measured."""
        for name, value in scene.measured.items():
            self.measured.setdefault(name, []).append(value)

    def judge(self, row: Row, slack: float = 1.0) -> None:
        """Add a failure for every bound that the runs together broke; bounds are multiplied by `slack`."""
        for name, bound in row.bounds.items():
            values = self.measured.get(name, [])
            if not values and not self.failures:
                self.failures.append(f"{name} was never measured")
            for part, limit in (("p50", bound.p50), ("p99", bound.p99), ("max", bound.max)):
                if values and (value := spread(values)[part]) > limit * slack:
                    self.failures.append(f"{name}: {part} {value:.3f} s is above {limit * slack:g} s")


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return p50, p99 (of few runs their maximum) and maximum."""
    found = list(values)
    return {"p50": percentile(found, 0.5), "p99": percentile(found, 0.99), "max": max(found)}


class Theatre:
    """Plays rows one after the other, on one cluster as long as they want the same."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._stack = AsyncExitStack()
        self.running: Running | None = None
        self._stage: Stage | None = None
        self.fenced: dict[str, int] = {name: 0 for name in Count.__struct_fields__}

    async def play(self, row: Row, runs: int) -> Outcome:
        """Play one row; a run that fails is told, and the next one goes on."""
        outcome, began = Outcome(row.id, runs=runs), time.monotonic()
        for number in range(runs):
            try:
                async with asyncio.timeout(STARTS_WITHIN_S):
                    stage = await self._staged(row.cluster)
            except Exception as error:
                outcome.failures.append(f"run {number}: no cluster: {_said(error)}")
                await self.close()
                continue
            scene = Scene(stage, number, f"{self._seed}:{row.id}:{number}")
            try:
                await self._run(row, scene, outcome)
            except Exception as error:
                outcome.failures.append(f"run {number}: {_said(error)}")
                await scene.crowd.end()
                await self.close()  # nobody knows in which state it is
        outcome.seconds = round(time.monotonic() - began, 1)
        return outcome

    async def _staged(self, running: Running) -> Stage:
        if self._stage is None or self.running is not running:
            await self.close()
            self.running, self._stage = running, await self._stack.enter_async_context(Stage.built(running))
        return self._stage

    async def close(self) -> None:
        """Stop the present cluster."""
        stage, self.running, self._stage = self._stage, None, None
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()
        if stage is not None:
            for name, value in msgspec.structs.asdict(stage.writers.count).items():
                self.fenced[name] += value

    async def _run(self, row: Row, scene: Scene, outcome: Outcome) -> None:
        known, before = len(outcome.failures), await begin(scene)
        try:
            async with asyncio.timeout(RUN_WITHIN_S):
                await row.play(scene)
            elections = await scene.epoch() - before
            if row.elections not in (None, elections):
                outcome.failures.append(f"run {scene.number}: {elections} elections instead of {row.elections}")
            outcome.elections.append(elections)
        except Exception as error:
            outcome.failures.append(f"run {scene.number}: {_said(error)}")
        finally:
            outcome.take(scene)
            wrong = await recover(scene, drained=row.draining)
        outcome.failures += [f"run {scene.number}: {it}" for it in wrong]
        if len(outcome.failures) > known:
            keep_logs(scene, KEPT / f"{row.id}-{scene.number}")
        if wrong:
            await self.close()  # what is in the rows for good would be found again and again


async def begin(scene: Scene) -> int:
    """Wait for a primary that serves, and return its epoch."""
    await scene.primary()
    return await scene.epoch()


async def recover(scene: Scene, *, drained: bool) -> list[str]:
    """Let everything go on that was stopped, wait until the people have gone, and return what the auditor found."""
    for agent_id in scene.armed:
        await scene.cluster.end(agent_id)
    scene.cluster.revive()
    await scene.crowd.end()
    with suppress(AssertionError):  # the auditor says it better
        await scene.cluster.until_active(len(scene.cluster.keepers()))
    async with scene.cluster.sql() as sql:
        found = await audit(_facts(scene, sql, drained))
    for chat in scene.chats:
        chat.close()
    return found


def _facts(scene: Scene, sql: Any, drained: bool) -> Facts:
    cluster = scene.cluster
    return Facts(
        sql=sql, redis=cluster.redis, acknowledged=scene.acknowledged, drained=drained,
        published=scene.published, culprits=scene.culprits,
        overlaps=scene.stage.seats.overlaps, keepers=cluster.keepers(), listed=cluster.listed,
        programs=_with_descendants(cluster.programs()), logs=cluster.logs() | _store_logs(cluster.stores.home.logs),
        secrets={name: read_secret(cluster.stores.home.secrets, name) for name in GENERATED},
    )  # fmt: skip


def keep_logs(scene: Scene, folder: Path) -> None:
    """Copy the logs of the cluster and what the tabs saw."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in scene.cluster.logs().items():
        shutil.copy(path, folder / f"{name}.log")
    (folder / "tabs.json").write_bytes(msgspec.json.encode([chat.events for chat in scene.chats]))


def _store_logs(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in folder.glob("*.log")}


def _with_descendants(programs: Mapping[str, int]) -> dict[str, int]:
    """Return these processes and all that they started, by name and process id."""
    parents: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents.setdefault(parent, []).append(int(status.parent.name))
    found = dict(programs)
    todo = list(programs.items())
    while todo:
        name, pid = todo.pop()
        children = [(f"{name}/{child}", child) for child in parents.get(pid, ())]
        found.update(children)
        todo += children
    return found


def _said(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_said(it) for it in error.exceptions)
    return f"{type(error).__name__}: {error}"[:600]


def report(row: Row, outcome: Outcome) -> dict[str, Any]:
    """Return a row's line of the table, as it is written to the JSON file."""
    return {
        "row": row.id, "title": row.title, "expected": row.expected,
        "promised": {name: str(bound) for name, bound in row.bounds.items()},
        "measured": {name: {part: round(value, 3) for part, value in spread(values).items()}
                     | {"values": [round(value, 3) for value in values]}
                     for name, values in outcome.measured.items()},
        "elections": outcome.elections, "runs": outcome.runs, "seconds": outcome.seconds,
        "invariants": checked(drained=row.draining, no_election=row.elections == 0),
        "passed": not outcome.failures, "failures": outcome.failures,
    }  # fmt: skip
