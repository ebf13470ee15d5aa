"""Server time of each page of the control plane, with 50 agents in the registry and 100,000 turns in PostgreSQL.

    python -m tests.bench.pages [--quick] --json FILE

The control plane is the real program behind no gateway; each page is asked for one at a time, so a time is what the
server needs, transport on loopback included. Nothing of ours is cached between requests. Promised: p99 below 100 ms,
the page itself with the look it loads below 150 kB. Counting the audit log's hashes again is a check that a person
asks for, not a page: it is shown, but takes longer the longer the log is. `cpu` is what the control plane computed per
request, with what it does anyway meanwhile: on a busy machine it tells a slow page from a crowded core.
"""

import argparse
import asyncio
import hashlib
import json
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import httpx2

from appliance.core.desired_fleet import agent_id
from appliance.core.records import Agent, Role, Status
from appliance.web.rendering import STATIC
from control_plane.fleet import Member, MemberState, Stats
from tests.bench.load import percentile
from tests.cluster import Cluster
from tests.fakes.models import FakeProvider
from tests.steered import ClusterFleet, steered
from tests.stores import Stores

PROMISED_MS, PROMISED_BYTES = 100.0, 150_000
AGENTS, TURNS, FAILOVERS, AUDITED = 50, 100_000, 200, 5_000
CHECK = "/control/audit?verify=true"


def _id(text: str) -> str:
    """Return the id that FILL makes of a text."""
    return str(UUID(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()))


PATHS = (
    "/control", "/control/history", "/control/history?before=100", "/control/stores", "/control/audit",
    "/control/audit?person=olga&subject=agent-7", "/control/game-day", CHECK, "/control/agents/agent-7",
    "/control/agents", "/control/tasks", "/control/tasks?state=dead&oldest=true", "/control/tasks?kind=none",
    f"/control/tasks/{_id('t1000')}", "/control/dead", f"/control/conversations/{_id('c1')}",
)  # fmt: skip
CONVERSATIONS = TURNS // 10
FILL = (
    f"""insert into conversations(id, tenant_id, user_id, title)
        select md5('c' || n)::uuid, 'default', (select id from users limit 1), 'A talk about ' || n
          from generate_series(1, {CONVERSATIONS}) n""",
    "insert into boots(boot, agent_id, dead_at, reason) select md5('b' || n)::uuid, 'agent-' || n % 50 + 1, "
    "case when n <= 950 then now() - interval '1 hour' end, 'silent' from generate_series(1, 1000) n",
    f"""insert into tasks(id, tenant_id, user_id, conversation_id, kind, state, attempt, turn_no, idem_key,
                         announced_at, released_from, released_at, claimed_at)
        select md5('t' || n)::uuid, 'default', (select id from users limit 1), md5('c' || (n - 1) / 10 + 1)::uuid,
               'conversation', case when n % 1000 = 0 then 'dead' when n % 200 = 0 then 'failed' else 'done' end, 1,
               (n - 1) % 10 + 1, 'k' || n, now(),
               case when n % 50 = 0 then md5('b' || n / 50 % {FAILOVERS})::uuid end, now(), now()
          from generate_series(1, {TURNS}) n""",
    f"""insert into messages(id, tenant_id, user_id, conversation_id, task_id, turn_no, role, text)
        select md5(who || n)::uuid, 'default', (select id from users limit 1), md5('c' || (n - 1) / 10 + 1)::uuid,
               md5('t' || n)::uuid, (n - 1) % 10 + 1, who, repeat('some words ', 20)
          from generate_series(1, {TURNS}) n, unnest(array['user', 'assistant']) who""",
    f"""insert into failovers(epoch, kind, old_primary, old_boot, new_primary, new_boot, evidence, detect_ms, agree_ms,
                              elect_ms, promote_ms, elected_at, served_at)
        select n, 'eof', 'agent-' || n % 50 + 1, md5('b' || n)::uuid, 'agent-' || (n + 1) % 50 + 1,
               md5('b' || n + 1)::uuid, (select jsonb_build_object('reason', 'a majority agrees', 'quorum', 26,
               'voters', jsonb_agg('agent-' || v), 'candidates', jsonb_agg(jsonb_build_object(
               'agent', 'agent-' || v, 'score', v, 'lost', 'a lower score'))) from generate_series(1, 10) v),
               3, 170, 9, 40, now() - n * interval '1 hour', now() - n * interval '1 hour'
          from generate_series(1, {FAILOVERS}) n""",
    f"""select count(audit(case when n % 2 = 0 then 'olga' else 'ada' end, 'drain', 'agent-' || n % 50,
                           '{{"deadline_s": 60}}', '')) from generate_series(1, {AUDITED}) n""",
    "select audit('ada', 'kill', 'agent-7', '{}', '')",
    "analyze",
)


class Still(ClusterFleet):
    """A fleet whose members all run, and log much."""

    async def members(self) -> tuple[Member, ...]:
        return tuple(Member(agent_id(n), n, MemberState.RUNNING, started_at=1.0) for n in range(1, AGENTS + 1))

    async def logs(self, slot: int, lines: int, *, follow: bool) -> AsyncIterator[str]:
        for number in range(lines):
            yield json.dumps({"event": "turn_ended", "level": "info", "timestamp": "2026-11-25T02:53:31Z", "n": number})

    async def stats(self) -> tuple[Stats, ...]:
        return tuple(Stats(agent_id(n), random.random(), random.randrange(10**8)) for n in range(1, AGENTS + 1))


@asynccontextmanager
async def filled() -> AsyncIterator[Cluster]:
    """A control plane over full stores; no agent runs, 50 beat."""
    stores = Stores()
    try:
        await stores.start()
        async with FakeProvider() as provider:
            cluster = Cluster(stores, provider, GAME_DAY="true")
            beating = None
            try:
                await cluster.start(0, gateway=False)
                await _fill(cluster)
                beating = asyncio.create_task(_beat(cluster))
                async with steered(cluster, AGENTS, Still(cluster)):
                    yield cluster
            finally:
                if beating:
                    beating.cancel()
                await cluster.close()
    finally:
        await asyncio.to_thread(stores.close)


async def _fill(cluster: Cluster) -> None:
    await cluster.sign_in("ada", "admin")
    async with cluster.sql() as sql:
        await sql.execute("set statement_timeout = 0")
        for statement in FILL:
            await sql.execute(statement.encode())


async def _beat(cluster: Cluster) -> None:
    """Beat for all agents as their keepers would."""
    agents = [
        Agent(
            id=f"agent-{n}", role=Role.SECONDARY, status=Status.ACTIVE, boot=str(uuid4()), host="127.0.0.1",
            port=18000 + n,
            models=("bundled/SmolLM2-135M",), current_load=n % 20, max_load=20, config_epoch=200, version="0.1.0",
        )
        for n in range(1, AGENTS + 1)
    ]  # fmt: skip
    await cluster.registry.initialise(uuid4().hex, 200)
    while True:
        for agent in agents:
            await cluster.registry.beat(agent)
        await asyncio.sleep(0.4)


async def measure(cluster: Cluster, times: int) -> dict[str, dict[str, float]]:
    """Ask for each page so often and return its figures."""
    _, login = await cluster.sign_in("ada", "admin")
    headers = {"Authorization": f"Bearer {login}", "Accept": "text/html"}
    address = f"http://127.0.0.1:{cluster.control_port}"
    figures: dict[str, dict[str, float]] = {}
    async with httpx2.AsyncClient(base_url=address, headers=headers, timeout=30) as http:
        watching = asyncio.create_task(_watch(http))  # somebody does, so the small lines are drawn
        for path in PATHS:
            await http.get(path)
            before = _ran_ms(cluster)
            took = [await _once(http, path) for _ in range(times)]
            milliseconds = [ms for ms, _ in took]
            figures[path] = {
                "p50_ms": round(percentile(milliseconds, 0.5), 1),
                "p99_ms": round(percentile(milliseconds, 0.99), 1),
                "cpu_ms": round((_ran_ms(cluster) - before) / times, 1),
                "bytes": took[-1][1],
            }
        watching.cancel()
    return figures


async def _watch(http: httpx2.AsyncClient) -> None:
    async with http.stream("GET", "/control/agents/live") as answer:
        async for _ in answer.aiter_raw():
            pass


def _ran_ms(cluster: Cluster) -> float:
    """Return how long the control plane's threads had a core so far, in milliseconds."""
    assert cluster._control is not None
    threads = Path(f"/proc/{cluster._control.pid}/task").glob("*/schedstat")
    return sum(int(it.read_text().split()[0]) for it in threads) / 1e6


async def _once(http: httpx2.AsyncClient, path: str) -> tuple[float, int]:
    began = time.perf_counter()
    answer = await http.get(path)
    assert answer.status_code == 200, (path, answer.status_code)
    return (time.perf_counter() - began) * 1000, len(answer.content)


def table(figures: dict[str, dict[str, float]]) -> str:
    """Return the figures as people read them."""
    lines = [f"{'page':44} {'p50':>9} {'p99':>9} {'cpu':>9} {'size':>9}"]
    lines += [f"{path:44} {_row(it)}{_mark(path, it)}" for path, it in figures.items()]
    return "\n".join(lines)


def _row(it: dict[str, float]) -> str:
    times = " ".join(f"{it[name]:6.1f} ms" for name in ("p50_ms", "p99_ms", "cpu_ms"))
    return f"{times} {it['bytes'] / 1000:6.1f} kB"


def _mark(path: str, figure: dict[str, float]) -> str:
    return "" if kept(path, figure) else "  !"


def kept(path: str, figure: dict[str, float]) -> bool:
    """Whether a page keeps what was promised."""
    return path == CHECK or (figure["p99_ms"] < PROMISED_MS and figure["bytes"] < PROMISED_BYTES - look_bytes())


def look_bytes() -> int:
    """Return the size of the style sheets and scripts that a page of the control plane loads."""
    names = (
        "app.css",
        "control.css",
        "live.js",
        "logs.js",
        "favicon.svg",
        "vendor/htmx.min.js",
        "vendor/hx-sse.min.js",
    )
    return sum((STATIC / name).stat().st_size for name in names)


async def run(times: int) -> dict[str, dict[str, float]]:
    """Fill the stores and measure."""
    async with filled() as cluster:
        return await measure(cluster, times)


def main() -> None:
    """Measure, print, write; exit code 1 when a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20 times each instead of 200")
    parser.add_argument("--json", type=Path, required=True)
    said = parser.parse_args()
    figures = asyncio.run(run(20 if said.quick else 200))
    print(table(figures))  # noqa: T201
    said.json.write_text(json.dumps({"agents": AGENTS, "turns": TURNS, "pages": figures}, indent=2))
    sys.exit(0 if all(kept(path, figure) for path, figure in figures.items()) else 1)


if __name__ == "__main__":
    main()
