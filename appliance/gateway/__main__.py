"""The process `gateway`: nginx, and the reloader that keeps its list of agents (PROTOCOLS 6.6).

The reloader is not in the failure path: nginx notices by itself what does not answer, and while Redis is away the
last list stays.
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import uvloop

from appliance.core import logs
from appliance.core.errors import StoreAway
from appliance.core.metrics import GATEWAY_AGENTS
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.core.settings import Settings, load
from appliance.gateway.counted import count
from appliance.gateway.members import listed, members
from appliance.gateway.nginx_config import named_upstream, render, replace, upstream_list
from appliance.gateway.nginx_process import Nginx

LOOK_S = 0.5
RELOAD_AT_MOST_EVERY_S = 2.0
log = logs.get("gateway")


async def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Serve until SIGTERM; the exit code is 1 when nginx cannot be kept running."""
    folder: Path = arguments.folder
    counter = await count(arguments.listen, serve_at=arguments.metrics)
    # Root's workers stay root's, since nobody else may enter the folder.
    render(folder, listen=arguments.listen, user="root" if os.geteuid() == 0 else "", counted=counter)
    replace(folder / "control.conf", named_upstream(settings.control_plane_host, settings.control_plane_port))
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    nginx, redis = Nginx(arguments.nginx, folder), Redis(settings)
    with suppress(StoreAway):  # who is there already needs no reload
        replace(
            folder / "agents.conf",
            upstream_list(members(await Registry(redis).view(), listed((folder / "agents.conf").read_text()))),
        )
    async with asyncio.TaskGroup() as loops:
        loops.create_task(follow(Registry(redis), nginx, folder, stopping), name="reloader")
        served = await nginx.serve(stopping)
        stopping.set()
    await redis.aclose()
    return 0 if served else 1


async def follow(registry: Registry, nginx: Nginx, folder: Path, stopping: asyncio.Event) -> None:
    """Keep `agents.conf` equal to the registry's planned members and reload nginx when it changes."""
    file = folder / "agents.conf"
    current, reload_due, reloaded_at = listed(file.read_text()), False, 0.0
    while not stopping.is_set():
        try:
            current = members(await registry.view(), current)
            reload_due |= replace(file, upstream_list(current))
            GATEWAY_AGENTS.set(len(current))
        except StoreAway:
            pass  # the last list stays
        except Exception:
            log.exception("agents_not_read")  # whatever goes wrong here, nginx goes on
        if reload_due and time.monotonic() - reloaded_at >= RELOAD_AT_MOST_EVERY_S and nginx.reload():
            log.info("agents_changed", agents=[f"{host}:{port}" for host, port in sorted(current)])
            reload_due, reloaded_at = False, time.monotonic()
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), LOOK_S)


def main() -> None:
    """Read the command line and the settings, and serve."""
    parser = argparse.ArgumentParser(prog="python -m appliance.gateway", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where nginx reads and writes")
    parser.add_argument("--listen", required=True, help="address:port")
    parser.add_argument("--metrics", default="", help="address:port where Prometheus may ask; nowhere unless said")
    parser.add_argument("--nginx", default="nginx", help="the nginx program")
    settings = load("gateway")
    logs.configure(settings.log_level, program="gateway")
    sys.exit(uvloop.run(run(parser.parse_args(), settings)))


if __name__ == "__main__":
    main()
