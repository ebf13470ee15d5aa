"""An agent that alone does not hear Redis sends its readers to the others; if nobody hears it, they stay and wait."""

import asyncio
from collections.abc import Callable

from agent_image.runner.hub import Hub
from appliance.core import logs
from appliance.core.clock import beat
from appliance.core.records import Agent

log = logs.get("runner")
SILENCE_S = 1.5
LOOK_S = 0.5
ASK_S = 0.6
"""Longer than another agent takes to find out that Redis does not answer it either."""


class CutOff:
    """Looks whether Redis is silent here only: then other agents say that they are ready.

    All that were ever named are asked: who was just starting at the last look may serve by now, and without Redis
    nobody would tell.
    """

    def __init__(self, hub: Hub, named: Callable[[], tuple[Agent, ...]]) -> None:
        self._hub = hub
        self._named = named

    async def run(self) -> None:
        """Look until cancelled."""
        before = sent_away = False
        while True:
            await beat(LOOK_S)
            alone = await self._alone()
            if alone and before and not self._hub.leaving:  # seen twice: once may be the moment of everybody's return
                log.warning("cut_off", silent_s=round(self._hub.silent_s, 1))
                self._hub.send_away()
                sent_away = True
            elif sent_away and not alone:
                self._hub.leaving = sent_away = False
            before = alone

    async def _alone(self) -> bool:
        return self._silent and await self._others_hear() and self._silent

    @property
    def _silent(self) -> bool:
        return self._hub.silent_s > SILENCE_S

    async def _others_hear(self) -> bool:
        return any(await asyncio.gather(*map(_is_ready, self._named())))


async def _is_ready(agent: Agent) -> bool:
    try:
        async with asyncio.timeout(ASK_S):
            reader, writer = await asyncio.open_connection(agent.host, agent.port)
            try:
                writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
