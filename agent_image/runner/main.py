"""Builds one runner and runs its loops in one task group beside the web server."""

import asyncio
import gc
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
import uvloop
from litestar.di import Provide
from litestar.types import ASGIApp

from agent_image.runner.api import ConversationApi
from agent_image.runner.chat import CHAT_HANDLERS
from agent_image.runner.commands.commands import Commands
from agent_image.runner.conversations import Conversations
from agent_image.runner.cut_off import CutOff
from agent_image.runner.drain import Drain
from agent_image.runner.hub import Hub
from agent_image.runner.isolation import Isolation
from agent_image.runner.llm import build_router, is_weak
from agent_image.runner.memory.api import MemoryApi
from agent_image.runner.memory.pages import HANDLERS as MEMORY_PAGES
from agent_image.runner.memory.wiring import Memories
from agent_image.runner.multi import sub_agent
from agent_image.runner.multi.orchestration import Team
from agent_image.runner.multi.plan import Limits
from agent_image.runner.multi.spawn import spawner
from agent_image.runner.multi.sub_agent import SubAgent
from agent_image.runner.neighbours import Neighbours
from agent_image.runner.numbers import measure, show
from agent_image.runner.reign import Reign, Step
from agent_image.runner.schedules.api import ScheduleApi
from agent_image.runner.schedules.firing import Firer
from agent_image.runner.schedules.tool import reminder
from agent_image.runner.streams import page_events, socket
from agent_image.runner.tasks import kinds
from agent_image.runner.tasks.wiring import Tasks
from agent_image.runner.tools import terminal
from agent_image.runner.tools.mcp.servers import McpServers
from agent_image.runner.tools.running import Parts as ToolParts
from agent_image.runner.tools.shell import shell
from agent_image.runner.tools.toolbox import Toolbox, fill
from agent_image.runner.tools.web_fetch import fetcher
from agent_image.runner.turns.announcer import Announcer
from agent_image.runner.turns.asker import Asker
from agent_image.runner.turns.intake import Intake
from agent_image.runner.turns.prompt import Window
from agent_image.runner.turns.rounds import Asking
from agent_image.runner.turns.summaries import Summaries
from agent_image.runner.turns.turn import Parts
from agent_image.shared_page import SharedPage
from appliance.core import logs, settings
from appliance.core.approvals import Approvals
from appliance.core.clock import beat, monotonic
from appliance.core.conversation_events import ConversationEvents
from appliance.core.election import Election
from appliance.core.postgres import Postgres
from appliance.core.records import Role, Status
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.core.schedules import Schedules
from appliance.core.settings import Settings
from appliance.core.task_ledger import TaskLedger
from appliance.core.working_memory import WorkingMemory
from appliance.web.app import create_app
from appliance.web.server import Server

log = logs.get("runner")
TICK_S = 0.2
_GRACE_S = 1
"""Seconds that open requests may take to end once the runner was asked to."""


class Runner:
    """One life of a runner: the composition root of everything that does user work."""

    def __init__(self, config: Settings, boot: str, page: SharedPage, port: int) -> None:
        self._config = config
        self._page = page
        page.terminal = int(config.cluster_terminal)
        self._port = port
        agent = config.cluster_agent_id
        self._redis = Redis(config)
        self._postgres = Postgres(config, application=f"runner {agent}")
        self._events = ConversationEvents(self._redis)
        self._ledger = TaskLedger(
            self._postgres, turn_timeout_s=config.model_turn_timeout, max_queued=config.cluster_max_queued,
            promote_after_s=config.cluster_memory_promotion_delay,
        )  # fmt: skip
        self._router = build_router(config)
        self._mcp = McpServers(config.mcp_servers, timeout_s=config.tool_timeout)
        self._hub = Hub(self._redis, self._events, boot)
        self._neighbours = Neighbours(Registry(self._redis), config)
        isolation = Isolation(lambda: self._intake.load + self._tasks.worker.load)
        self._tasks = Tasks(
            config, boot, self._redis, self._postgres, self._hub, self._neighbours, self._may_fetch, isolation
        )
        self._schedules = Schedules(self._postgres, time_zone=config.time_zone)
        self._memories = Memories(config, self._redis, self._postgres, self._router, self._tasks.board, self._leads)
        self._commands = Commands(self._schedules, self._memories.commands)
        self._approvals = Approvals(self._postgres, within_s=config.approval_timeout)
        parts = self._parts(boot, isolation)
        kinds.provide(sub_agent.KIND, SubAgent(agent, parts.asking))
        self._summaries = parts.summaries
        self._intake = Intake(parts, config, self._redis, may_claim=self._may_claim, leads=self._leads)
        show(page, lambda: self._intake.load, config.cluster_max_load)
        self._cut_off = CutOff(self._hub, self._neighbours.named)
        self._drain = Drain(page, self._intake, self._tasks.worker, self._hub, self._neighbours.others_serve)
        announcer = Announcer(self._ledger, self._approvals, self._events, agent)
        election = Election(self._redis, self._postgres)
        self._reign = Reign(
            page, self._ledger, election, announcer, self._tasks.dispatcher, self._sweeps(boot, announcer), agent=agent,
            boot=boot,
        )  # fmt: skip

    def _sweeps(self, boot: str, announcer: Announcer) -> dict[str, Step]:
        """Return what else a primary looks for."""
        asker = Asker(self._approvals, announcer, boot)
        return {
            "schedules": Firer(self._schedules, boot, announcer.waits).fire_due,
            "expired": asker.expire, "unasked": asker.ask_again, "promotions": self._memories.promoter.publish_due,
            "memories": self._memories.indexing.nudge,
        }  # fmt: skip

    def _parts(self, boot: str, isolation: Isolation) -> Parts:
        """Return what turns need."""
        config, agent = self._config, self._config.cluster_agent_id
        tools = ToolParts(
            agent=agent, boot=boot, box=self._toolbox(), ledger=self._ledger, approvals=self._approvals,
            timeout_s=config.tool_timeout,
        )  # fmt: skip
        asking = Asking(
            boot=boot, ledger=self._ledger, router=self._router, max_tokens=config.model_max_tokens, tools=tools
        )
        window, memory = self._memory()
        summaries = Summaries(memory, self._router, window=window, at=config.cluster_summary_at)
        team = Team(
            board=self._tasks.board, batches=self._tasks.batches, ledger=self._ledger,
            limits=Limits(config.multi_max_tokens, config.multi_max_seconds),
        )  # fmt: skip
        return Parts(
            agent=agent, boot=boot, ledger=self._ledger, events=self._events, memory=memory, asking=asking,
            summaries=summaries, window=window, approvals=self._approvals, team=team, isolation=isolation,
            commands=self._commands, recall=self._memories.recall(self._ledger, boot),
        )  # fmt: skip

    def _memory(self) -> tuple[Window, WorkingMemory]:
        """Return how much models can be told, and what of conversations is at hand."""
        config = self._config
        told_of_tools = not all(map(is_weak, config.model_names()))
        window = Window(config.context_tokens(), config.model_max_tokens, told_of_tools)
        ttl_s = config.cluster_working_memory_ttl
        return window, WorkingMemory(self._redis, self._postgres, ttl_s=ttl_s, window=window.tokens)

    def _toolbox(self) -> Toolbox:
        """Return the tools of this runner: its own, and those that modules, packages and MCP servers bring."""
        config = self._config
        own = [spawner(self._tasks.board, within_s=config.task_timeout), reminder(self._schedules)]
        own += self._memories.tools()
        own += [shell()] if config.cluster_terminal else []
        if allowed := config.web_fetch_hosts():
            own.append(fetcher(allowed, private=config.web_fetch_private))
        return fill(filter(None, config.tool_modules.split(",")), own, [self._mcp])

    def _may_claim(self) -> bool:
        """Whether this agent takes ordinary work now: a standby waits to be elected."""
        return not self._hub.away and self._page.role is not Role.STANDBY

    def _may_fetch(self) -> bool:
        """Whether it takes tasks now; turns, before which somebody waits, are not braked."""
        return self._may_claim() and not self._page.brakes(monotonic())

    def _leads(self) -> bool:
        return self._page.role is Role.PRIMARY

    async def run(self) -> None:
        """Serve until SIGTERM; then take nothing more, let go of what runs, and end."""
        await self._postgres.open()
        server = self._server()
        async with asyncio.TaskGroup() as group:
            loops = [
                group.create_task(work, name=name)
                for name, work in {
                    "tick": self._tick(),
                    "hub": self._hub.run(),
                    "claim": self._intake.claim_forever(),
                    "tasks": self._tasks.run(),
                    "hear queued": self._intake.hear_queued(self._tasks.dispatcher.nudged.set),
                    "hear aborts": self._intake.hear_aborts(),
                    "flags": self._intake.check_flags(),
                    "neighbours": self._neighbours.run(),
                    "cut off": self._cut_off.run(),
                    "reign": self._reign.run(),
                    "mcp": self._mcp.run(),
                    "summaries": self._summaries.run(),
                    "memories": self._memories.run(),
                }.items()
            ]
            serving = group.create_task(server.serve(), name="http")
            serving.add_done_callback(lambda _: self._drain.stop())
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, self._drain.stop)
            await self._drain.run()
            server.should_exit = True
            await serving
            for loop in loops:
                loop.cancel()
        await self._memories.aclose()
        await self._router.aclose()
        await self._postgres.aclose()
        await self._redis.aclose()

    def _server(self) -> Server:
        config = uvicorn.Config(
            self._app(), host=self._config.agent_host, port=self._port, log_config=None, access_log=False,
            timeout_graceful_shutdown=_GRACE_S, proxy_headers=False, server_header=False, lifespan="on",
            timeout_keep_alive=75, ws_max_size=2**21,
        )  # fmt: skip
        server = Server(config)
        # Our own handlers order the end of everything; uvicorn's would end the web server first and only.
        server.capture_signals = _no_signals  # type: ignore[method-assign]
        return server

    def _app(self) -> ASGIApp:
        service = Conversations(
            self._redis,
            self._postgres,
            self._ledger,
            self._intake,
            self._hub,
            self._neighbours,
            self._commands,
            self._approvals,
        )
        return create_app(
            self._config,
            postgres=self._postgres,
            handlers=[ConversationApi, ScheduleApi, MemoryApi, page_events, socket, *CHAT_HANDLERS, *MEMORY_PAGES],
            templates=[Path(__file__).parent / room / "templates" for room in ("chat", "memory")],
            checks={"redis": self._redis.ping, "postgresql": self._postgres.ping},
            measure=measure,
            dependencies={
                "conversations": Provide(lambda: service, sync_to_thread=False),
                "schedules": Provide(lambda: self._schedules, sync_to_thread=False),
                "memories": Provide(lambda: self._memories.service, sync_to_thread=False),
            },
        )

    async def _tick(self) -> None:
        """Show the keeper that this event loop turns, how far it lags, and how much runs.

        The first of the loops, so that it is judged before any work can hold it.
        """
        page = self._page
        page.loop_tick = monotonic()
        while True:
            page.loop_lag_ms = await beat(TICK_S) * 1000
            page.loop_tick = monotonic()
            page.load = self._intake.load
            if page.status is Status.STARTING:
                page.status = Status.ACTIVE


@contextmanager
def _no_signals() -> Iterator[None]:
    yield


def main(boot: str, descriptor: int, port: int) -> None:
    """Run one boot."""
    config = settings.load("runner")
    logs.configure(config.log_level, agent=config.cluster_agent_id, boot=boot[:8])
    # Tried before there is an event loop: trying starts a process.
    config = config.model_copy(update={"cluster_terminal": terminal.is_offered(config.cluster_terminal)})
    # What was imported stays for good; without this a full collection now and then stops every stream for 30 ms.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    uvloop.run(Runner(config, boot, SharedPage(descriptor), port).run())
