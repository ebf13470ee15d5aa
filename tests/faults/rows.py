"""The rows of FAULTS.md: what is done to a running cluster, and what is promised about it.

A row is one async function in a module `tests/faults/rows_*.py`; importing the module registers it, and
`python -m tests.faults` imports them all:

    @row("F1", "primary's runner SIGKILL", "its keeper releases the lease; new primary < 0.5 s",
         bounds={"primary_s": Bound(p50=0.3, max=1.0)}, elections=1, often=True)
    async def f1(scene: Scene) -> None:
        lost = await scene.primary()
        chat = await scene.chat(lost)                    # an open tab whose answer `lost` writes
        began = await scene.kill(lost.runner_pid)        # at a random moment of the heartbeat
        scene.measure(primary_s=await scene.new_primary(lost, began))
        scene.measure(gap_s=(await chat.ended()).gap_s)

It is called once a run, on a whole cluster with fenced writers and people who talk all the time; `scene.number` counts
the runs from 0 and `scene.random` is seeded. Afterwards the harness lets frozen agents go on, starts dead ones again,
and calls the auditor. A row fails by an exception, a violated invariant, a wrong number of elections or a broken bound.
What a row changes beyond its agents it puts back itself (`try … finally`). A row that needs another cluster than three
plain agents gives `cluster=`; rows with the same one share it.
"""

import math
import pkgutil
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

from tests.cluster import Cluster, running_cluster

if TYPE_CHECKING:
    from tests.faults.scene import Scene

Play = Callable[["Scene"], Awaitable[None]]
Running = Callable[[], AbstractAsyncContextManager[Cluster]]
"""How to run a cluster, for example `functools.partial(running_cluster, 3, CLUSTER_MAX_LOAD="2")`."""


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What the values of one measure, in seconds, may be."""

    p50: float = math.inf
    p99: float = math.inf
    max: float = math.inf

    def __str__(self) -> str:
        promised = {"p50": self.p50, "p99": self.p99, "max": self.max}
        return ", ".join(f"{name} ≤ {value:g}" for name, value in promised.items() if value < math.inf)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the matrix."""

    id: str
    title: str
    expected: str
    play: Play
    bounds: Mapping[str, Bound] = field(default_factory=dict)
    elections: int | None = None
    """How many there must be in each run, 0 for a false alarm; None = whatever the row itself checks."""
    often: bool = False
    """One of the rows with many runs."""
    draining: bool = False
    """Whether I13 is checked: no turn may need a second try."""
    alone: bool = False
    """Takes the whole machine: nothing else is measured beside it."""
    lacking: str = ""
    """What this machine lacks to play it; '' = nothing."""
    cluster: Running


def three_agents() -> AbstractAsyncContextManager[Cluster]:
    """Run what most rows are played on."""
    return running_cluster(3)


ROWS: dict[str, Row] = {}


def row(
    number: str,
    title: str,
    expected: str,
    *,
    bounds: Mapping[str, Bound] | None = None,
    elections: int | None = None,
    often: bool = False,
    draining: bool = False,
    alone: bool = False,
    lacking: str = "",
    cluster: Running = three_agents,
) -> Callable[[Play], Play]:
    """Register the decorated function as row `number`."""

    def register(play: Play) -> Play:
        if number in ROWS:
            raise ValueError(f"two rows are called {number}")
        ROWS[number] = Row(
            id=number, title=title, expected=expected, play=play, bounds=bounds or {}, elections=elections,
            often=often, draining=draining, alone=alone, lacking=lacking, cluster=cluster,
        )  # fmt: skip
        return play

    return register


def all_rows() -> dict[str, Row]:
    """Import every module of rows and return all rows by their number."""
    import tests.faults

    for module in pkgutil.iter_modules(tests.faults.__path__):
        if module.name.startswith("rows_"):
            import_module(f"tests.faults.{module.name}")
    return ROWS
