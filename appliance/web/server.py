"""uvicorn's server, quieter: it looks whether it is to end on the beat that the program's other loops share."""

import uvicorn

from appliance.core.clock import beat

LOOK_S = 0.25


class Server(uvicorn.Server):
    """Serves until `should_exit`."""

    async def main_loop(self) -> None:
        """Tick as uvicorn does; each tick with a number that ends in 0 writes the date that answers carry."""
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 5
            await beat(LOOK_S)
