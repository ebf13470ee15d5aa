"""The registry: who is in the cluster, by Redis' clock (PROTOCOLS 6.1)."""

from typing import Any

import msgspec

from appliance.core.keys import AGENT_TTL_S
from appliance.core.records import Agent, ClusterView, Lease, Released
from appliance.core.redis import Redis
from appliance.core.settings import LEASE_S

_LEASE_MS = int(LEASE_S * 1000)


class Beat(msgspec.Struct, frozen=True):
    """What Redis answered to a heartbeat."""

    redis_ms: int
    generation: str | None
    primary_id: str | None


class Registry:
    """Reads and writes of the agents' records."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._keys = redis.keys

    async def beat(self, agent: Agent) -> Beat:
        """Say that `agent` is alive: its record, its boot key and its place in the set, in one step.

        Raises:
            StoreAway: Redis did not answer within the control call's time.
        """
        keys = self._keys
        record: list[str | int | float | bytes] = []
        for name, value in _written(agent).items():
            record += [name, value]
        now, generation, primary = await self._redis.call(
            "beat",
            [keys.agent(agent.id), keys.agents, keys.boot(agent.boot), keys.generation, keys.primary],
            [agent.id, agent.boot, _LEASE_MS, AGENT_TTL_S, *record],
            control=True,
        )
        return Beat(redis_ms=int(now), generation=generation or None, primary_id=primary or None)

    async def leave(self, agent_id: str, boot: str, *, on_purpose: bool) -> None:
        """End a boot's liveness and lease at once; who leaves on purpose is not missed (CLUSTER_MIN_SECONDARIES)."""
        keys = self._keys
        await self._redis.call(
            "leave",
            [keys.agent(agent_id), keys.agents, keys.boot(boot), keys.primary],
            [agent_id, boot, int(on_purpose)],
            control=True,
        )

    async def forget(self, agent_id: str) -> bool:
        """Take an agent that was removed out of the registry; False: it lives.

        Raises:
            StoreAway: Redis does not answer.
        """
        keys = self._keys
        mine = [keys.agent(agent_id), keys.agents]
        return bool(await self._redis.call("forget", mine, [agent_id, keys.boot("")], control=True))

    async def view(self) -> ClusterView:
        """Read the whole registry once, consistently.

        Raises:
            StoreAway: Redis does not answer.
        """
        keys = self._keys
        now, generation, epoch, lease, released, *records = await self._redis.call(
            "view",
            [keys.agents, keys.generation, keys.epoch, keys.primary, keys.released],
            [keys.agent(""), keys.boot("")],
            control=True,
            reads=True,
        )
        agents = (_agent(dict(zip(flat[::2], flat[1::2], strict=True)), int(now)) for flat in records)
        return ClusterView(
            agents=tuple(sorted(agents, key=lambda agent: _by_number(agent.id))),
            generation=generation or None,
            epoch=int(epoch),
            redis_time=int(now) / 1000,
            lease=_lease(lease),
            released=Released(int(released[0]), released[1], released[2]) if released else None,
        )

    async def suspect(self, agent_id: str, boot: str, *, voter: str, window_ms: int) -> tuple[int, float | None]:
        """Say that `voter` saw the liveness connection of `boot` end.

        Returns:
            How many said so inside the window, and the seconds since its last beat (None: a newer boot beats there).
        """
        keys = self._keys
        voters, silent_ms = await self._redis.call(
            "suspect",
            [keys.suspects(boot), keys.agent(agent_id), keys.generation],
            [voter, boot, window_ms],
            control=True,
        )
        return int(voters), None if int(silent_ms) < 0 else int(silent_ms) / 1000

    async def withdraw_suspicion(self, boot: str, *, voter: str) -> None:
        """Say that `voter` hears this boot again: what it said of it before counts no more."""
        await self._redis.call(
            "withdraw_suspicion", [self._keys.suspects(boot), self._keys.generation], [voter], control=True
        )

    async def initialise(self, generation: str, epoch: int) -> str:
        """Begin a generation in a Redis that holds no data, or learn the one in force."""
        keys = self._keys
        found = await self._redis.call("initialise", [keys.generation, keys.epoch], [generation, epoch], control=True)
        return str(found)


def _written(agent: Agent) -> dict[str, str | int | float]:
    """Return the record's fields as Redis stores them; what Redis itself knows is left out."""
    left_out = {"id", "boot", "beat_age_s", "boot_alive"}
    fields = {name: value for name, value in msgspec.structs.asdict(agent).items() if name not in left_out}
    for name in ("models", "capabilities"):
        fields[name] = msgspec.json.encode(fields[name]).decode()
    return {name: _plain(value) for name, value in fields.items()}


def _plain(value: str | int | float | bool) -> str | int | float:
    """Return a value as Redis takes it: enums as text, booleans as numbers."""
    if isinstance(value, str):
        return str(value)
    return int(value) if isinstance(value, bool) else value


def _lease(fields: list[Any]) -> Lease | None:
    if not fields:
        return None
    holder, boot, epoch, seq, left_ms = fields
    return Lease(holder, boot, int(epoch), int(seq), max(0, int(left_ms)) / 1000)


def _agent(record: dict[str, Any], now_ms: int) -> Agent:
    fields: dict[str, object] = dict(record)  # texts, but for what `view` itself counted
    for name in ("models", "capabilities"):
        fields[name] = msgspec.json.decode(record.get(name, "[]"))
    fields["beat_age_s"] = (now_ms - int(record.pop("last_heartbeat", 0))) / 1000
    fields["boot_alive"] = bool(record.get("boot_alive"))
    return msgspec.convert(fields, Agent, strict=False)


def _by_number(agent_id: str) -> tuple[str, int, str]:
    """Sort agent-2 before agent-10."""
    stem, _, number = agent_id.rpartition("-")
    return (stem, int(number), "") if number.isdigit() else (agent_id, 0, agent_id)
