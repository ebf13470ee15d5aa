"""An open load: requests arrive at a fixed rate, each streams its answer; times are taken where bytes arrive."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import msgspec


class Answer(msgspec.Struct, frozen=True):
    """One streamed answer as its client saw it; times in milliseconds since the request was sent."""

    first_ms: float
    last_ms: float
    tokens: int
    ok: bool
    runner_ms: float = 0.0
    """From claim to first token as the agent measured it itself; 0 when asked directly."""


class Target(msgspec.Struct, frozen=True):
    """Whom to ask and how to read the stream."""

    host: str
    port: int
    request: Callable[[int], bytes]
    is_token: Callable[[bytes], bool]
    is_end: Callable[[bytes], bool]


async def ask(target: Target, number: int) -> Answer:
    """Send one request on a connection of its own and read its event stream to the end."""
    reader, writer = await asyncio.open_connection(target.host, target.port)
    began = time.perf_counter()
    writer.write(target.request(number))
    first = last = runner = 0.0
    tokens, ok = 0, False
    try:
        async with asyncio.timeout(120):
            async for line in reader:
                if target.is_token(line):
                    last = (time.perf_counter() - began) * 1000
                    first = first or last
                    tokens += 1
                elif target.is_end(line):
                    ok = first > 0 and b'"failed"' not in line
                    runner = _runner_ms(line)
                    break
    except (OSError, TimeoutError):
        ok = False
    finally:
        writer.close()
    return Answer(first, last, tokens, ok, runner)


def _runner_ms(line: bytes) -> float:
    if b"ttft_ms" not in line:
        return 0.0
    return float(json.loads(line.removeprefix(b"data: "))["ttft_ms"])


async def arrive(target: Target, *, per_s: float, count: int) -> list[Answer]:
    """Let `count` requests arrive evenly at `per_s`, whether or not earlier ones have ended."""
    began = time.perf_counter()
    running = []
    for number in range(count):
        await asyncio.sleep(max(0.0, began + number / per_s - time.perf_counter()))
        running.append(asyncio.create_task(ask(target, number)))
    return list(await asyncio.gather(*running))


def percentile(values: list[float], share: float) -> float:
    """Return the value below which `share` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Cpu:
    """Share of all cores that was busy between two looks at the kernel's counters."""

    def __init__(self) -> None:
        self._before = self._read()

    @staticmethod
    def _read() -> tuple[int, int]:
        fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
        return sum(fields[:8]), fields[3] + fields[4]

    def busy(self) -> float:
        """Return the share since the last look."""
        now, before = self._read(), self._before
        self._before = now
        return 1 - (now[1] - before[1]) / max(1, now[0] - before[0])
