"""What Nexus adds to the time to the first token, against asking the same model server directly.

    python -m tests.bench.response_start [--quick] --json FILE

An open load: conversations arrive evenly; each answer begins after a fixed time and streams for five seconds, so that
the arrival rate sets how many run at once. `added` = a request's time to first token through Nexus minus the median of
the direct ones in the same run. Everything, load generator included, shares the machine's cores.
"""

import argparse
import contextlib
import json
import time
import uuid
from pathlib import Path

import uvloop

from tests.bench.load import Answer, Cpu, Target, arrive, percentile
from tests.cluster import Cluster
from tests.fakes.models import FakeProvider
from tests.stores import Stores

FIRST_MS, TOKENS, DELAY_MS = 100, 50, 100
ANSWER_S = FIRST_MS / 1000 + TOKENS * DELAY_MS / 1000
MESSAGE = f"bench [[first={FIRST_MS}ms tokens={TOKENS} delay={DELAY_MS}ms]]"
LEVELS = (50, 100, 200)


def post(host: str, path: str, body: dict[str, object], headers: str = "") -> bytes:
    """Return a whole HTTP request."""
    payload = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Accept: text/event-stream\r\nContent-Length: {len(payload)}\r\n{headers}\r\n"
    )
    return head.encode() + payload


def direct(provider: FakeProvider) -> Target:
    """Ask the scripted model server itself."""
    body: dict[str, object] = {
        "model": provider.model, "stream": True, "messages": [{"role": "user", "content": MESSAGE}],
    }  # fmt: skip
    request = post(f"127.0.0.1:{provider.port}", "/v1/chat/completions", body)
    return Target(
        host="127.0.0.1",
        port=provider.port,
        request=lambda _: request,
        is_token=lambda line: b'"content":"' in line and b'"content":""' not in line,
        is_end=lambda line: line.startswith(b"data: [DONE]"),
    )


def through_nexus(cluster: Cluster, token: str) -> Target:
    """Ask through the gateway: every request is the first message of a new conversation."""

    def request(_: int) -> bytes:
        path = f"/api/v1/conversations/{uuid.uuid4()}/messages"
        headers = f"Authorization: Bearer {token}\r\n"
        return post(f"127.0.0.1:{cluster.port}", path, {"text": MESSAGE, "create": True}, headers)

    return Target(
        host="127.0.0.1",
        port=cluster.port,
        request=request,
        is_token=lambda line: line.startswith(b'data: {"type":"token"'),
        is_end=lambda line: line.startswith((b'data: {"type":"done"', b'data: {"type":"failed"')),
    )


async def measure(target: Target, level: int, seconds: float) -> tuple[list[Answer], float, float]:
    """Keep `level` answers running for `seconds`; return the answers, busy cores' share and tokens per second."""
    per_s = level / ANSWER_S
    cpu, began = Cpu(), time.perf_counter()
    answers = await arrive(target, per_s=per_s, count=int(per_s * seconds))
    took = time.perf_counter() - began
    return answers, cpu.busy(), sum(answer.tokens for answer in answers) / took


async def run(levels: tuple[int, ...], seconds: float) -> dict[str, float]:
    """Measure all levels on one cluster; return the figures."""
    figures: dict[str, float] = {}
    stores = Stores()
    await stores.start()
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(stores.close)
        provider = await stack.enter_async_context(FakeProvider())
        cluster = Cluster(stores, provider, CLUSTER_MAX_LOAD="200", LOG_LEVEL="warning")
        stack.push_async_callback(cluster.close)
        await cluster.start(3)
        _, token = await cluster.sign_in()
        await arrive(through_nexus(cluster, token), per_s=5, count=15)  # warm caches and connection pools
        for level in levels:
            alone = await measure(direct(provider), level, seconds)
            nexus = await measure(through_nexus(cluster, token), level, seconds)
            figures |= figures_of(level, alone, nexus)
            print_row(level, figures)
    return figures


def figures_of(
    level: int, alone: tuple[list[Answer], float, float], nexus: tuple[list[Answer], float, float]
) -> dict[str, float]:
    """Return one level's figures under keys that carry the level."""
    base = percentile([answer.first_ms for answer in alone[0] if answer.ok], 0.5)
    good = [answer for answer in nexus[0] if answer.ok]
    added = [answer.first_ms - base for answer in good]
    inside = [answer.runner_ms - FIRST_MS for answer in good]
    values = {
        "direct_ttft_p50_ms": base,
        "direct_ttft_p99_ms": percentile([answer.first_ms for answer in alone[0] if answer.ok], 0.99),
        "added_ttft_p50_ms": percentile(added, 0.5),
        "added_ttft_p99_ms": percentile(added, 0.99),
        "of_which_in_runner_p50_ms": percentile(inside, 0.5),
        "of_which_in_runner_p99_ms": percentile(inside, 0.99),
        "ratio_ttft_p50": (percentile(added, 0.5) + base) / base,
        "direct_cpu": alone[1],
        "nexus_cpu": nexus[1],
        "direct_events_per_s": alone[2],
        "nexus_events_per_s": nexus[2],
        "answers": len(good),
        "failed": len(nexus[0]) - len(good),
    }
    return {f"{name}_{level}": round(value, 3) for name, value in values.items()}


COLUMNS = ("direct_ttft_p50_ms", "added_ttft_p50_ms", "added_ttft_p99_ms", "of_which_in_runner_p99_ms",
           "ratio_ttft_p50", "nexus_cpu", "nexus_events_per_s", "answers", "failed")  # fmt: skip


def print_row(level: int, figures: dict[str, float]) -> None:
    """Print one level's row, the header before the first."""
    if level == LEVELS[0]:
        print("at once  " + "  ".join(COLUMNS))  # noqa: T201
    cells = [f"{figures[f'{name}_{level}']:>{len(name)}.2f}" for name in COLUMNS]
    print(f"{level:>7}  " + "  ".join(cells), flush=True)  # noqa: T201


def main() -> None:
    """Run and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="50 at once for a few seconds only")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    levels, seconds = (LEVELS[:1], 15.0) if arguments.quick else (LEVELS, 30.0)
    figures = uvloop.run(run(levels, seconds))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
