"""The composition root of the broker: a fleet, a socket that only its owner may use."""

import argparse
import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

import uvicorn
import uvloop

from appliance.core import logs
from appliance.core.errors import NexusError
from appliance.web.server import Server
from control_plane.broker.api import application
from control_plane.fleet import Fleet, MemberState

log = logs.get("broker")
_GRACE_S = 2
_AGAIN_S = 2.0


class Owned(Fleet, Protocol):
    """A fleet with something to put away."""

    async def thaw(self, slot: int) -> None:
        """Let a frozen member go on."""

    async def aclose(self) -> None:
        """Let frozen agents go on; do nothing more."""


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="control_plane.broker", description=__doc__)
    parser.add_argument("--fleet", choices=("processes", "containers"), required=True)
    parser.add_argument("--home", type=Path, help="of the appliance whose processes these are")
    parser.add_argument("--project", default="nexus", help="Compose project whose containers these are")
    parser.add_argument("--socket", type=Path, required=True, help="where to listen; its folder must exist")
    said = parser.parse_args()
    if said.fleet == "processes" and said.home is None:
        parser.error("--fleet processes needs --home")
    logs.configure("info", program="broker")
    uvloop.run(_serve(said))


async def _serve(said: argparse.Namespace) -> None:
    fleet = _fleet(said)
    thawing = asyncio.create_task(thaw_forgotten(fleet), name="thaw forgotten")
    with listening(said.socket) as listener:
        # At the server's own end: after it, the signal that ended it ends this process.
        await server_of(fleet, at_the_end=[fleet.aclose]).serve(sockets=[listener])
    thawing.cancel()


async def thaw_forgotten(fleet: Owned) -> None:
    """Let those go on whom a broker froze that was killed before it could thaw them; tried until the fleet answers."""
    while True:
        try:
            for member in await fleet.members():
                if member.state is MemberState.FROZEN:
                    log.warning("thawed", agent=member.agent_id)
                    await fleet.thaw(member.slot)
            return
        except NexusError as error:
            log.warning("nobody_thawed", error=str(error))
        await asyncio.sleep(_AGAIN_S)


def _fleet(said: argparse.Namespace) -> Owned:
    """Make the fleet; each adapter's own dependencies are needed only where it is used."""
    if said.fleet == "containers":
        from control_plane.fleet.containers import Containers

        return Containers(said.project)
    from appliance.embedded.places import Home
    from control_plane.fleet.processes import Processes

    return Processes(Home.at(said.home))


def server_of(fleet: Fleet, at_the_end: Sequence[Callable[[], Awaitable[None]]] = ()) -> uvicorn.Server:
    """Return a server of a fleet's verbs that is not started yet."""
    verbs = application(fleet, at_the_end)
    return Server(uvicorn.Config(verbs, log_config=None, access_log=False, timeout_graceful_shutdown=_GRACE_S))


def listening(path: Path) -> socket.socket:
    """Return a socket that listens at `path` for nobody but this user; a socket that was left there is replaced."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        short = Path(f"/proc/self/fd/{folder}/{path.name}")  # a socket's path may have 107 bytes only
        short.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            listener.bind(str(short))
        finally:
            os.umask(mask)
        listener.listen(128)
        return listener
    finally:
        os.close(folder)
