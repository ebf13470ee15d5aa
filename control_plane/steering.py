"""What changes the fleet, put together: the broker's client, the loop, the operations."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from litestar.enums import ScopeType
from litestar.types import Scope

from appliance.core.desired_fleet import DesiredFleet
from appliance.core.errors import Forbidden, StoreAway
from appliance.core.orders import AutomaticFailover, Orders
from appliance.core.postgres import Postgres
from appliance.core.records import User
from appliance.core.redis import Redis
from appliance.core.registry import Registry
from appliance.core.requests import Requests
from appliance.core.settings import Settings
from control_plane.fleet.remote import Remote
from control_plane.operations import Operations, Rows
from control_plane.reconcile import Reconciler


class Steering:
    """Lives as long as the program."""

    def __init__(self, config: Settings, redis: Redis, postgres: Postgres) -> None:
        desired, orders, registry = DesiredFleet(postgres), Orders(redis, postgres), Registry(redis)
        self.fleet = Remote(config.broker_socket)
        self.reconciler = Reconciler(self.fleet, desired, orders, registry)
        self._requests = Requests(postgres)
        rows = Rows(desired, orders, AutomaticFailover(postgres), self._requests)
        self.operations = Operations(config, rows, registry, self.fleet, self.reconciler)
        self._has_broker = bool(config.broker_socket)

    async def keep_refusal(self, error: Exception, scope: Scope) -> None:
        """Audit what somebody signed in tried and may not do: a role too low, a forged form."""
        user = scope.get("user")
        if not isinstance(error, Forbidden) or error.audited:
            return
        if isinstance(user, User) and scope["type"] == ScopeType.HTTP:
            asked = f"{scope['method']} {scope['path']}"
            with suppress(StoreAway):
                await self._requests.refused(action="web", subject=asked, by=user.name, why=error.detail)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Reconcile meanwhile; without a broker there is nothing to reconcile with."""
        loop = asyncio.create_task(self.reconciler.run(), name="reconcile") if self._has_broker else None
        try:
            yield
        finally:
            if loop:
                loop.cancel()
                with suppress(asyncio.CancelledError):
                    await loop
            await self.fleet.aclose()
