"""One appliance in containers, with verbs for what befalls them; an answer watched while it happens."""

import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.cli.common import Place
from appliance.cli.recorder import Recorder, verdict_of
from appliance.cli.switchover import hand_over
from appliance.cli.talk import Talk
from appliance.containers.places import Staged
from appliance.containers.running import Container, containers
from appliance.core.records import Agent, ClusterView
from appliance.core.registry import Registry
from appliance.core.task_ledger import TaskLedger
from tests.appliance.commands import Appliance
from tests.waiting import wait_until

COLD_S = 600
"""In which everything is downloaded and built."""
AGENTS = 2
QUESTION = "Write a long story about a lighthouse keeper and the sea, with many details."
WORDS_BEFORE = 8
RECOVERS_WITHIN_S = 60.0


def docker(*words: str) -> str:
    """Run one docker command; fails with what it said."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docker {words}: {done.stderr}"
    return done.stdout.strip()


class Stack(Appliance):
    """The appliance of one home as containers."""

    within_s = 540
    """The first time everything is downloaded and built."""

    @property
    def place(self) -> Place:
        """What commands see of it."""
        return Place(self.home)

    @property
    def project(self) -> str:
        """Its Compose project."""
        return Staged(self.place.home).project

    def containers(self) -> dict[str, Container]:
        """Its containers by program."""
        return {it.program: it for it in containers(self.place.home)}

    def name(self, program: str) -> str:
        """A program's container."""
        return self.containers()[program].name

    def inspected(self) -> dict[str, dict[str, Any]]:
        """All that Docker tells of its containers."""
        names = {program: it.name for program, it in self.containers().items()}
        return {program: json.loads(docker("inspect", name))[0] for program, name in names.items()}

    def left(self, kind: str) -> list[str]:
        """What is there of the project: containers, networks or volumes."""
        listing = ("ps", "--all") if kind == "container" else (kind, "ls")
        return docker(*listing, "--quiet", "--filter", f"label=com.docker.compose.project={self.project}").split()

    async def view(self) -> ClusterView:
        """The registry."""
        async with self.place.redis() as redis:
            return await Registry(redis).view()

    async def whole(self) -> ClusterView:
        """Wait until every wanted agent is active and one of them is primary."""

        async def is_whole() -> ClusterView | None:
            view = await self.view()
            active = {it.id for it in view.agents if it.boot_alive and it.status == "active"}
            return view if view.primary_id and active >= set(self.place.agents) else None

        found: ClusterView = await wait_until(is_whole, within_s=RECOVERS_WITHIN_S, of="a whole cluster")
        return found

    async def other_primary(self, than: Agent) -> Agent:
        """Wait for a primary that is another boot."""

        async def another() -> Agent | None:
            view = await self.view()
            lease = view.lease
            return view.agent(lease.holder) if lease and lease.boot != than.boot else None

        found: Agent = await wait_until(another, within_s=RECOVERS_WITHIN_S, of=f"another primary than {than.id}")
        return found


@dataclass
class Watched:
    """An answer, the agent that began it as primary, and what a tab saw to its end."""

    stack: Stack
    talk: Talk
    recorder: Recorder
    agent: Agent
    events: AsyncIterator[dict[str, Any]]

    async def ended(self) -> None:
        """Follow the answer to its end, which must be the committed one, each event once."""
        async for event in self.events:
            self.recorder.note(event)
        self.recorder.first_new_ms = self.recorder.first_new_ms or 0  # an answer may end where it began
        assert verdict_of(self.recorder, await self.talk.recorded(), await self.talk.committed()) == []


@asynccontextmanager
async def answering_primary(stack: Stack) -> AsyncIterator[Watched]:
    """Ask, and yield once the primary itself is in the middle of the answer."""
    await stack.whole()
    place = stack.place
    async with place.login() as token, Talk(place.config.url, token) as talk:
        await talk.ask(QUESTION)
        recorder, events = Recorder(), talk.events()
        agent = await _owner_as_primary(stack, talk.turn)
        async for event in events:
            recorder.note(event)
            if recorder.tokens >= WORDS_BEFORE:
                break
        recorder.killed(talk.ms())
        yield Watched(stack, talk, recorder, agent, events)


async def _owner_as_primary(stack: Stack, turn: str) -> Agent:
    place = stack.place

    async def owner() -> Agent | None:
        async with place.postgres() as postgres:
            row = await TaskLedger(postgres, turn_timeout_s=60, max_queued=1).turn(turn)
        return next((it for it in (await stack.view()).agents if row and it.boot == row.owner_boot), None)

    found: Agent = await wait_until(owner, of="an owner of the turn")
    if (await stack.view()).primary_id != found.id:
        await hand_over(place, found.id)
    return found


@dataclass(frozen=True)
class Hurt:
    """Something that befalls the primary's container, and what mends it."""

    do: Callable[[Stack, str], Any]
    mend: Callable[[Stack, str], Any]


HURTS = {
    "F2 killed": Hurt(lambda _, name: docker("kill", name), lambda _, name: docker("start", name)),
    "F3 paused": Hurt(lambda _, name: docker("pause", name), lambda _, name: docker("unpause", name)),
    "F6 cut off from the stores": Hurt(
        lambda stack, name: docker("network", "disconnect", f"{stack.project}_data", name),
        lambda stack, name: docker("network", "connect", f"{stack.project}_data", name),
    ),
}


def last_lines(stack: Stack, count: int = 25) -> dict[str, str]:
    """What each agent's container and the gateway's wrote last."""
    found = {name: it.name for name, it in stack.containers().items() if name.startswith(("agent-", "gateway"))}
    command = ("docker", "logs", "--tail", str(count))
    return {
        name: subprocess.run(
            [*command, container], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        ).stdout
        for name, container in found.items()
    }


def in_a_home(base: Path) -> Stack:
    """An appliance in containers that is not up yet."""
    return Stack(base / "home")


def remove(stack: Stack) -> None:
    """Leave nothing of it."""
    stack.start("down", "--volumes")
    shutil.rmtree(stack.home, ignore_errors=True)


def engine_answers() -> bool:
    """Whether there is a Docker Engine to test on."""
    from appliance.embedded.bootstrap.machine import docker_state

    return docker_state() == "answers"
