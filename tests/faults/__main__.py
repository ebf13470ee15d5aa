"""Play FAULTS.md on real processes and print one table.

    python -m tests.faults [--rows F1,F3] [--runs N] [--full] [--lanes N] [--seed S] [--json FILE]

3 runs a row, 20 for F1, F3, KR, F21t and F21m; `--full`: 10 and 50. A row that fails is told, the others go on; then
the exit code is 1. The seed says at which moments faults begin and whom the lot hits. Lanes are clusters hurt at the
same time, for most of a run is waiting; a row that takes the whole machine is played when they are done.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.faults.play import Outcome, Theatre, report
from tests.faults.rows import Row, Running, all_rows

USUAL, OFTEN = (3, 20), (10, 50)
FENCED_WRITES = 100_000
"""So many must be attempted in all when every row is played."""


def runs_of(row: Row, runs: int | None, *, full: bool) -> int:
    """Return how often a row is played."""
    return runs or (OFTEN if full else USUAL)[row.often]


def next_of(waiting: list[Row], present: Running | None) -> Row:
    """Take a row that wants the cluster which runs already, else the first one."""
    chosen = next((row for row in waiting if row.cluster is present), waiting[0])
    waiting.remove(chosen)
    return chosen


async def play(rows: list[Row], arguments: argparse.Namespace) -> dict[str, Any]:
    """Play all rows and return what the JSON file holds."""
    began, lines = time.monotonic(), list[dict[str, Any]]()
    theatres = [Theatre(arguments.seed) for _ in range(arguments.lanes)]

    async def lane(theatre: Theatre, waiting: list[Row]) -> None:
        while waiting:
            row = next_of(waiting, theatre.running)
            outcome: Outcome = await theatre.play(row, runs_of(row, arguments.runs, full=arguments.full))
            outcome.judge(row)
            lines.append(report(row, outcome))
            tell(row, outcome)

    try:
        shared = sorted((row for row in rows if not row.alone), key=lambda row: not row.often)
        await asyncio.gather(*(lane(theatre, shared) for theatre in theatres))
        for theatre in theatres:
            await theatre.close()
        await lane(theatres[0], [row for row in rows if row.alone])
    finally:
        for theatre in theatres:
            await theatre.close()
    lines.sort(key=lambda line: _by_number(line["row"]))
    return {
        "seed": arguments.seed, "seconds": round(time.monotonic() - began), "cores": os.cpu_count(),
        "lanes": arguments.lanes, "fenced_writes": fenced(theatres), "rows": lines,
    }  # fmt: skip


def fenced(theatres: list[Theatre]) -> dict[str, int]:
    """Add up what became of the fenced writes on all clusters."""
    return {name: sum(theatre.fenced[name] for theatre in theatres) for name in theatres[0].fenced}


def tell(row: Row, outcome: Outcome) -> None:
    """Say at once how a row went."""
    say(f"{row.id:<4} {'passed' if not outcome.failures else 'FAILED'} in {outcome.seconds:.0f} s: {row.title}")
    for failure in outcome.failures:
        say(f"     {failure}")


def _by_number(row: str) -> tuple[int, str]:
    digits = "".join(filter(str.isdigit, row))
    return int(digits or 1), row


def say(text: str) -> None:
    """Tell how it goes; the table alone is the output."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def one_row_a_line(figures: dict[str, Any]) -> str:
    """Write the figures so that people and diffs can read them."""
    head = json.dumps({name: value for name, value in figures.items() if name != "rows"}, indent=1)
    rows = ",\n".join(json.dumps(row) for row in figures["rows"])
    return f'{head[:-2]},\n "rows": [\n{rows}\n ]\n}}\n'


def table(figures: dict[str, Any]) -> Table:
    """Return the table of all rows."""
    columns = ("row", "expected", "measured", "p50 s", "max s", "promised", "elections", "runs", "invariants", "")
    shown = Table(*columns, show_lines=True)
    for line in figures["rows"]:
        measured = line["measured"]
        shown.add_row(
            line["row"], f"[b]{line['title']}[/b]: {line['expected']}", "\n".join(measured),
            "\n".join(f"{it['p50']:.3f}" for it in measured.values()),
            "\n".join(f"{it['max']:.3f}" for it in measured.values()),
            "\n".join(line["promised"].get(name, "") for name in measured),
            ", ".join(map(str, sorted(set(line["elections"])))), str(line["runs"]), " ".join(line["invariants"]),
            "pass" if line["passed"] else "FAIL",
        )  # fmt: skip
    return shown


def too_few_writes(figures: dict[str, Any]) -> bool:
    """Whether the proof of the fence rests on too few writes."""
    return bool(figures["fenced_writes"]["attempted"] < FENCED_WRITES)


def main() -> None:
    """Play, print the table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="", help="only these, such as F1,F3")
    parser.add_argument("--runs", type=int, help="of each row")
    parser.add_argument("--full", action="store_true", help="10 runs a row, 50 instead of 20")
    parser.add_argument("--lanes", type=int, default=2, help="clusters at the same time")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = all_rows()
    wanted = arguments.rows.split(",") if arguments.rows else list(rows)
    if unknown := [name for name in wanted if name not in rows]:
        parser.error(f"there is no row {', '.join(unknown)}; there are {', '.join(sorted(rows, key=_by_number))}")
    skipped = {name: rows[name].lacking for name in wanted if rows[name].lacking}
    figures = asyncio.run(play([rows[name] for name in wanted if name not in skipped], arguments))
    figures["skipped"] = skipped
    if arguments.json:
        arguments.json.write_text(one_row_a_line(figures))
    console = Console(width=None if sys.stdout.isatty() else 190)
    console.print(table(figures))
    for name, lacking in skipped.items():
        console.print(f"{name} was not played: {lacking}")
    console.print(f"fenced writes: {figures['fenced_writes']} in {figures['seconds']} s")
    few = not arguments.rows and too_few_writes(figures)
    if few:
        console.print(f"FAIL: fewer than {FENCED_WRITES} fenced writes were attempted")
    sys.exit(1 if few or not all(line["passed"] for line in figures["rows"]) else 0)


if __name__ == "__main__":
    main()
