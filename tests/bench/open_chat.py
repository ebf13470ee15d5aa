"""What a browser tab sees when the agent that answers is killed or frozen in mid-answer.

    python -m tests.bench.open_chat [--quick] --json FILE

Each run: ask in Chromium through the gateway, wait for the first words, SIGKILL (or SIGSTOP) keeper and runner of the
agent that answers, wait until the tab shows the whole answer. `extra` = time from the signal to the whole answer minus
the time the answer takes to generate. A run passes when the page equals the committed message and no event was lost or
doubled.
"""

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import Any

from playwright.async_api import Page, async_playwright

from tests.bench.load import percentile
from tests.cluster import Cluster, running_cluster
from tests.e2e.conftest import FLAGS, RECORD, login_link
from tests.e2e.test_chat import ask, checked, committed, owner_of, turn_done
from tests.fakes.models import expected_text

TOKENS, DELAY_MS = 150, 20
GENERATION_S = TOKENS * DELAY_MS / 1000
MESSAGE = f"story [[tokens={TOKENS} delay={DELAY_MS}ms]]"
PROMISED_S = {"kill": 3.0, "freeze": 5.0}


async def one_run(page: Page, cluster: Cluster, fault: str) -> dict[str, Any]:
    """Hurt the answering agent once and return what the tab saw."""
    await page.evaluate("window.seen && (window.seen.length = 0)")
    conversation = await ask(page, cluster, MESSAGE)
    lost = await owner_of(page, cluster)
    began = time.monotonic()
    await (cluster.kill(lost.id) if fault == "kill" else cluster.freeze(lost.id))
    try:
        await turn_done(page, within_s=40)
        took = time.monotonic() - began
        events = await page.evaluate("window.seen")
    finally:
        await (cluster.thaw(lost.id) if fault == "freeze" else _start(cluster, lost.id))
    text = await committed(cluster, conversation)
    checked(events, text)
    assert text == expected_text(MESSAGE)
    assert (await page.locator(".assistant .text").last.inner_text()).strip() == text.strip()
    gap = next(event["gap_ms"] for event in events if event["type"] == "attempt_restarted")
    await cluster.until_active(3)
    return {"extra_s": round(took - GENERATION_S, 3), "gap_ms": gap}


async def _start(cluster: Cluster, agent_id: str) -> None:
    cluster.start_agent(agent_id)


async def run(runs: int) -> dict[str, Any]:
    """Do all runs on one cluster and return the figures."""
    figures: dict[str, Any] = {}
    async with running_cluster(3) as cluster, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = await browser.new_page()
        await page.add_init_script(RECORD)
        await page.goto(await login_link(cluster))
        for fault in PROMISED_S:
            figures[fault] = await many(page, cluster, fault, runs)
        await browser.close()
    return figures


async def many(page: Page, cluster: Cluster, fault: str, runs: int) -> dict[str, Any]:
    """Repeat one fault; a run that fails is counted and said, not retried."""
    good: list[dict[str, Any]] = []
    failures: list[str] = []
    for number in range(runs):
        try:
            good.append(await one_run(page, cluster, fault))
        except Exception as error:
            failures.append(f"run {number}: {error}")
    extra = [run["extra_s"] for run in good]
    gaps = [run["gap_ms"] for run in good]
    return {
        "runs": runs,
        "whole": len(good),
        "within_promise": sum(value <= PROMISED_S[fault] for value in extra),
        "promised_s": PROMISED_S[fault],
        "extra_p50_s": percentile(extra, 0.5) if extra else None,
        "extra_max_s": max(extra, default=None),
        "gap_p50_ms": percentile(gaps, 0.5) if gaps else None,
        "gap_max_ms": max(gaps, default=None),
        "failures": failures,
    }


def main() -> None:
    """Run, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three runs each instead of twenty")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = asyncio.run(run(3 if arguments.quick else 20))
    columns = [
        "runs",
        "whole",
        "within_promise",
        "promised_s",
        "extra_p50_s",
        "extra_max_s",
        "gap_p50_ms",
        "gap_max_ms",
    ]
    print("fault   " + "  ".join(columns))  # noqa: T201
    for fault, values in figures.items():
        print(f"{fault:<8}" + "  ".join(f"{values[name]!s:>{len(name)}}" for name in columns))  # noqa: T201
        for failure in values["failures"]:
            print(f"        {failure}")  # noqa: T201
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
