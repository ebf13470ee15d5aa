"""What others are told of tasks: that some wait, that some ended. Hints all; rows stand behind them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

from appliance.core import event_bus, logs
from appliance.core.errors import NoGeneration, StoreAway
from appliance.core.records import Ended
from appliance.core.redis import Redis
from appliance.core.task_batches import Told
from appliance.core.task_stream import TaskStream

log = logs.get("tasks")
_UNSAID: Mapping[str, Ended] = MappingProxyType({})


class Teller:
    """Tells, unless Redis is away: then the dispatcher's sweep and the waiters' poll make it good."""

    def __init__(self, redis: Redis, stream: TaskStream, generation: Callable[[], str | None]) -> None:
        self._redis = redis
        self._stream = stream
        self.generation = generation
        """Returns the generation of Redis this runner knows of, None while it knows none."""

    async def tell(
        self, generation: str | None, waiting: Sequence[Told], ended: Sequence[str] = (),
        how: Mapping[str, Ended] = _UNSAID,
    ) -> None:  # fmt: skip
        """Say that rows stamped with `generation` wait, and that tasks ended; of few also `how`: that spares a read."""
        if ended:
            await event_bus.publish(self._redis, "task", "ended", ids=ended, how=dict(how))
        if waiting and generation is not None:
            try:
                await self._stream.enqueue(generation, waiting)
            except (StoreAway, NoGeneration) as error:
                log.info("tasks_untold", tasks=len(waiting), error=str(error))

    async def dismiss(self) -> None:
        """Forget readers that are gone; the next sweep tries again."""
        with suppress(StoreAway):
            await self._stream.dismiss()
