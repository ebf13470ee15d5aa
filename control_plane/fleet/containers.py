"""The fleet as containers of one Compose project, over the Docker SDK: the only module that speaks to Docker.

Only containers with our labels are touched, and nothing that a person typed reaches Docker. A new agent is a copy of
the lowest one there is: Compose's file is the only template.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import docker
import requests
from docker.errors import APIError, DockerException
from docker.errors import NotFound as Gone
from docker.utils import kwargs_from_env

from appliance.core.desired_fleet import agent_id
from appliance.core.errors import Conflict, NotFound
from control_plane.fleet import FleetAway, Member, MemberState, Stats
from control_plane.fleet.copying import NUMBER, PROJECT, copy_of, later_networks
from control_plane.fleet.followed import lines_of
from control_plane.fleet.threads import Threads

T = TypeVar("T")
_TIMEOUT_S = 10
_FRESH_S = 5.0
_LAST_WORDS = 3
_QUICK_DEATH_S, _QUICK_DEATHS = 10.0, 2
_GRACE_S = 10
_STATES = {
    "running": MemberState.RUNNING,
    "restarting": MemberState.CRASHING,
    "paused": MemberState.FROZEN,
    "removing": MemberState.LEAVING,
}
Found = dict[str, Any]


class Containers:
    """Agents as containers. Docker is asked in threads, a few at a time, and every call has its time."""

    def __init__(self, project: str = "nexus", service: str = "agent") -> None:
        self._labels = [f"{PROJECT}={project}", f"com.docker.compose.service={service}", "nexus.role=agent"]
        self._name = f"{project}-{service}-"
        self._threads = Threads()
        self._api: Any = None
        self._leaving: set[int] = set()
        self._inspected: dict[str, tuple[str, float, Found]] = {}
        self._cpu: dict[str, tuple[float, float]] = {}
        self._locks: dict[int, asyncio.Lock] = {}
        self._thaws: set[asyncio.Task[None]] = set()

    async def members(self) -> tuple[Member, ...]:
        """Return all members by slot."""
        return await self._threads.read(lambda: self._asked(self._members))

    async def start(self, slot: int) -> None:
        """Start the slot's container; one that is not there is made as a copy of the lowest."""
        async with self._lock(slot):
            await self._threads.change(lambda: self._asked(partial(self._start, slot)))
            self._inspected.clear()

    async def stop(self, slot: int) -> None:
        """End it gently and keep it ended."""
        await self._leave(slot, self._stop)

    async def remove(self, slot: int) -> None:
        """Stop it and remove its container."""
        await self._leave(slot, self._remove)

    async def restart(self, slot: int) -> None:
        """Stop it gently and start it again."""
        await self.stop(slot)
        await self.start(slot)

    async def kill(self, slot: int) -> None:
        """SIGKILL; Docker takes that for a wish and leaves it dead until it is started."""
        await self._change(slot, lambda api, found: api.kill(found["Id"]))

    async def freeze(self, slot: int, seconds: float) -> None:
        """Pause it and let it go on after `seconds`."""
        await self._change(slot, lambda api, found: api.pause(found["Id"]))
        thaw = asyncio.create_task(self._thaw_later(slot, seconds), name=f"thaw {agent_id(slot)}")
        self._thaws.add(thaw)
        thaw.add_done_callback(self._thaws.discard)

    async def thaw(self, slot: int) -> None:
        """Let a paused one go on."""
        with suppress(Conflict, NotFound):  # it was thawed or ended meanwhile
            await self._change(slot, lambda api, found: api.unpause(found["Id"]))

    async def logs(self, slot: int, lines: int, *, follow: bool) -> AsyncIterator[str]:
        """Yield the end of its log, then what it writes."""

        def begin(api: Any) -> Any:
            return api.logs(self._one(api, slot)["Id"], stream=True, follow=follow, tail=lines)

        chunks = await self._threads.read(lambda: self._asked(begin))
        async for line in lines_of(chunks):
            yield line

    async def stats(self) -> tuple[Stats, ...]:
        """Return what each running member uses."""
        found = await self._threads.read(lambda: self._asked(self._list))
        running = [it for it in found if it["State"] == "running"]
        read = [self._threads.read(partial(self._asked, partial(self._usage, found=it))) for it in running]
        return tuple(it for it in await asyncio.gather(*read) if it)

    async def aclose(self) -> None:
        """Let frozen agents go on and end the threads."""
        for thaw in list(self._thaws):
            thaw.cancel()
        await asyncio.gather(*self._thaws, return_exceptions=True)
        self._threads.close()
        self._disconnect()

    async def _change(self, slot: int, do: Callable[[Any, Found], None]) -> None:
        def work(api: Any) -> None:
            do(api, self._one(api, slot))

        await self._threads.change(lambda: self._asked(work))
        self._inspected.clear()

    async def _leave(self, slot: int, how: Callable[[Any, int], None]) -> None:
        self._leaving.add(slot)
        try:
            await self._threads.change(lambda: self._asked(lambda api: how(api, slot)))
        finally:
            self._leaving.discard(slot)
            self._inspected.clear()

    async def _thaw_later(self, slot: int, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        finally:
            await asyncio.shield(self.thaw(slot))

    def _lock(self, slot: int) -> asyncio.Lock:
        return self._locks.setdefault(slot, asyncio.Lock())

    def _asked(self, work: Callable[[Any], T]) -> T:
        """Do something with Docker; a connection that a restarted daemon left behind is replaced once."""
        try:
            try:
                return work(self._connected())
            except requests.ConnectionError:
                self._disconnect()
                return work(self._connected())
        except Gone as error:
            raise NotFound("This agent's container was removed: look again.") from error
        except APIError as error:
            raise Conflict(f"Docker refused: {error.explanation or error}") from error
        except (DockerException, requests.RequestException) as error:
            self._disconnect()
            raise FleetAway(f"The Docker daemon does not answer ({type(error).__name__}); agents go on.") from error

    def _connected(self) -> Any:
        if self._api is None:
            self._api = docker.APIClient(**kwargs_from_env(), version="auto", timeout=_TIMEOUT_S)
        return self._api

    def _disconnect(self) -> None:
        api, self._api = self._api, None
        if api is not None:
            api.close()

    def _list(self, api: Any) -> list[Found]:
        """Return our containers by slot, each with its `slot`."""
        found = api.containers(all=True, filters={"label": self._labels})
        numbered = [it | {"slot": int(it["Labels"][NUMBER])} for it in found if it["Labels"].get(NUMBER, "").isdigit()]
        return sorted(numbered, key=lambda it: it["slot"])

    def _one(self, api: Any, slot: int) -> Found:
        for found in self._list(api):
            if found["slot"] == slot:
                return found
        raise NotFound(f"There is no {agent_id(slot)}: it has no container.")

    def _members(self, api: Any) -> tuple[Member, ...]:
        listed = self._list(api)
        self._inspected = {it["Id"]: self._inspected[it["Id"]] for it in listed if it["Id"] in self._inspected}
        return tuple(it for it in map(partial(self._member, api), listed) if it)

    def _member(self, api: Any, found: Found) -> Member | None:
        try:
            known = self._facts(api, found)
        except Gone:
            return None
        slot, state = found["slot"], _STATES.get(found["State"], MemberState.STOPPED)
        started_at, restarts = _seconds(known["State"]["StartedAt"]), int(known["RestartCount"])
        young = started_at is not None and time.time() - started_at < _QUICK_DEATH_S
        if state is MemberState.RUNNING and young and restarts >= _QUICK_DEATHS:
            state = MemberState.CRASHING
        if slot in self._leaving:
            state = MemberState.LEAVING
        detail = _exit_of(known) if state is MemberState.STOPPED else ""
        if state is MemberState.CRASHING:
            detail = f"{_exit_of(known)}; last words: {self._last_words(api, found)}"
        runs = state not in (MemberState.STOPPED, MemberState.CRASHING)
        return Member(agent_id(slot), slot, state, detail, started_at if runs else None, restarts)

    def _facts(self, api: Any, found: Found) -> Found:
        """Inspect a container; what was seen a moment ago in the same state still holds."""
        state, at, known = self._inspected.get(found["Id"], ("", 0.0, {}))
        if state != found["State"] or time.monotonic() - at > _FRESH_S:
            known = api.inspect_container(found["Id"])
            self._inspected[found["Id"]] = (found["State"], time.monotonic(), known)
        return known

    def _last_words(self, api: Any, found: Found) -> str:
        return str(api.logs(found["Id"], tail=_LAST_WORDS).decode(errors="replace").strip())

    def _start(self, slot: int, api: Any) -> None:
        with suppress(NotFound):
            found = self._one(api, slot)
            if found["State"] == "paused":
                api.unpause(found["Id"])
            elif found["State"] != "running":
                api.start(found["Id"])
            return
        api.start(self._create(api, slot))

    def _create(self, api: Any, slot: int) -> str:
        listed = self._list(api)
        if not listed:
            raise Conflict("No agent's container is left that could be copied: `make up` makes them anew.")
        # The lowest of those on most networks: one that was cut off from a network is no model.
        whole = max(listed, key=lambda it: len(it["NetworkSettings"]["Networks"]))
        source, name = api.inspect_container(whole["Id"]), f"{self._name}{slot}"
        created = api.create_container_from_config(copy_of(source, name, slot), name=name)["Id"]
        try:
            for network, ends in later_networks(source, name).items():
                api.connect_container_to_network(created, network, aliases=ends["Aliases"])
        except BaseException:
            api.remove_container(created, force=True)
            raise
        return str(created)

    def _stop(self, api: Any, slot: int) -> None:
        found = self._one(api, slot)
        if found["State"] == "paused":
            api.unpause(found["Id"])
        grace = api.inspect_container(found["Id"])["Config"].get("StopTimeout") or _GRACE_S
        api.stop(found["Id"], timeout=grace)

    def _remove(self, api: Any, slot: int) -> None:
        with suppress(NotFound, Gone):
            self._stop(api, slot)
            api.remove_container(self._one(api, slot)["Id"], v=True)

    def _usage(self, api: Any, found: Found) -> Stats | None:
        try:
            said = api.stats(found["Id"], stream=False, one_shot=True)
        except Gone:
            return None
        memory = said.get("memory_stats", {})
        if "usage" not in memory:
            return None  # it ended meanwhile
        name, now = agent_id(found["slot"]), time.monotonic()
        used = said["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9
        at, before = self._cpu.get(found["Id"], (now, used))
        self._cpu[found["Id"]] = (now, used)
        cores = max(0.0, used - before) / (now - at) if now > at else 0.0
        return Stats(name, round(cores, 3), memory["usage"] - memory.get("stats", {}).get("inactive_file", 0))


def _seconds(moment: str) -> float | None:
    """Return Docker's moment as seconds since 1970; None for its "never"."""
    return None if moment.startswith("0001") else datetime.fromisoformat(moment).timestamp()


def _exit_of(known: Found) -> str:
    state = known["State"]
    if state.get("OOMKilled"):
        return "ended for lack of memory"
    return state.get("Error") or f"ended with code {state['ExitCode']}"
