"""What a primary does between its promotion and its demotion, on real stores (PROTOCOLS 6.2, 7.2, 7.3, 8.2)."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import tuple_row

from agent_image.runner.reign import Reign
from agent_image.runner.schedules.firing import Firer
from agent_image.runner.tasks.dispatcher import Dispatcher
from agent_image.runner.tasks.teller import Teller
from agent_image.runner.turns.announcer import Announcer
from agent_image.runner.turns.asker import Asker
from agent_image.shared_page import SharedPage
from appliance.core import event_bus
from appliance.core.approvals import Approvals
from appliance.core.clock import monotonic
from appliance.core.conversation_events import ConversationEvents
from appliance.core.election import Election
from appliance.core.errors import StaleEpoch
from appliance.core.postgres import Postgres, connection_options
from appliance.core.records import Role, TaskState, Turn, User
from appliance.core.redis import Redis, new_generation
from appliance.core.registry import Registry
from appliance.core.schedules import Schedules
from appliance.core.settings import Settings
from appliance.core.task_batches import TaskBatches
from appliance.core.task_ledger import Answer, TaskLedger
from appliance.core.task_stream import TaskStream
from tests.stores import Stores
from tests.waiting import wait_until

LEASE_S = 3600.0


class Primary:
    """A runner's reign, whose keeper is played by the test."""

    def __init__(self, settings: Settings, postgres: Postgres, redis: Redis) -> None:
        self.settings, self.postgres, self.redis = settings, postgres, redis
        self.page, self.boot = SharedPage.create(), str(uuid4())
        self.ledger = TaskLedger(postgres, turn_timeout_s=60, max_queued=100)
        self.election = Election(redis, postgres)
        approvals = Approvals(postgres, within_s=60)
        announcer = Announcer(self.ledger, approvals, ConversationEvents(redis), "agent-p")
        batches = TaskBatches(postgres, timeout_s=60, max_queued=100)
        teller = Teller(redis, TaskStream(redis), lambda: None)
        dispatcher = Dispatcher(self.boot, batches, teller, lambda: 20)
        asker = Asker(approvals, announcer, self.boot)
        more = {
            "schedules": Firer(Schedules(postgres, time_zone="UTC"), self.boot, announcer.waits).fire_due,
            "expired": asker.expire, "unasked": asker.ask_again,
        }  # fmt: skip
        self.reign = Reign(
            self.page, self.ledger, self.election, announcer, dispatcher, more, agent="agent-p", boot=self.boot
        )
        self.loop = asyncio.create_task(self.reign.run())

    async def promote(self) -> int:
        epoch = await self.elect(self.boot)
        self.page.epoch, self.page.lease_deadline, self.page.role = epoch, monotonic() + LEASE_S, Role.PRIMARY
        return epoch

    async def elect(self, boot: str) -> int:
        """Let PostgreSQL give birth to the next epoch; the page does not know of it."""
        voted = (await self.election.current()).number
        epoch = await self.election.elect("agent-p", boot, voted=voted, evidence={"kind": "first"})
        assert epoch is not None
        return epoch

    async def until_reigning(self, yes: int) -> None:
        async def as_wanted() -> bool:
            return self.page.reigning == yes

        await wait_until(as_wanted, of=f"reigning to be {yes}")

    async def dead_boots_turn(self) -> Turn:
        """Return a turn that a boot was running when it was buried and nobody released."""
        row = await self.postgres.row("ensure_user", tenant=f"t-{uuid4()}", name="ada", role="operator")
        assert row is not None
        ada, dead = User(id=str(row["id"]), name="ada", tenant_id=row["tenant_id"]), str(uuid4())
        await self.ledger.register_boot(dead, "agent-d")
        accepted = await self.ledger.accept(ada, str(uuid4()), "hi", client_id="1", boot=dead, create=True)
        assert accepted.turn.state is TaskState.RUNNING
        await self.ledger.bury(dead, "test")
        return accepted.turn

    async def sql(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        """Do what no statement of the product does."""
        options = connection_options(self.settings, "test") | {"row_factory": tuple_row}
        async with await psycopg.AsyncConnection.connect(self.settings.postgres_url, **options) as connection:
            return await (await connection.execute(text.encode(), values)).fetchall()

    async def state_of(self, turn: Turn) -> TaskState:
        row = await self.ledger.turn(turn.id)
        assert row is not None
        return row.state

    async def until_queued(self, turn: Turn) -> None:
        async def queued() -> bool:
            return await self.state_of(turn) is TaskState.QUEUED

        await wait_until(queued, of="the release of a dead boot's turn")


@pytest.fixture
async def primary(stores: Stores) -> AsyncIterator[Primary]:
    settings = await stores.with_own_database(redis_key_prefix=f"t{secrets.token_hex(3)}:")
    postgres, redis = Postgres(settings, application="test"), Redis(settings)
    await postgres.open()
    await Registry(redis).initialise(new_generation(), 0)
    made = Primary(settings, postgres, redis)
    yield made
    made.loop.cancel()
    with suppress(asyncio.CancelledError):
        await made.loop
    await postgres.aclose()
    await redis.aclose()


async def test_a_promotion_releases_dead_boots_work_at_once_and_a_demotion_ends_that(primary: Primary) -> None:
    first = await primary.dead_boots_turn()
    await primary.promote()
    await primary.until_queued(first)
    await primary.until_reigning(1)
    primary.page.role = Role.SECONDARY
    await primary.until_reigning(0)
    second = await primary.dead_boots_turn()
    await primary.promote()
    await primary.until_queued(second)


async def test_a_primary_whose_lease_is_out_does_nothing_until_it_is_renewed(primary: Primary) -> None:
    await primary.promote()
    await primary.until_reigning(1)
    primary.page.lease_deadline = monotonic()
    await primary.until_reigning(0)
    turn = await primary.dead_boots_turn()
    assert await primary.state_of(turn) is TaskState.RUNNING
    primary.page.lease_deadline = monotonic() + LEASE_S
    await primary.until_queued(turn)


async def test_a_deposed_primary_stops_by_itself_and_changes_nothing(primary: Primary) -> None:
    await primary.promote()
    await primary.until_reigning(1)
    await primary.elect(str(uuid4()))
    turn = await primary.dead_boots_turn()
    await primary.until_reigning(0)
    assert await primary.state_of(turn) is TaskState.RUNNING
    assert primary.page.role is Role.PRIMARY, "its keeper has not found out yet"
    await primary.promote()
    await primary.until_queued(turn)


async def test_every_sweep_of_a_stale_epoch_is_refused_and_noted(primary: Primary) -> None:
    epoch = await primary.elect(primary.boot)
    for sweep in (primary.ledger.sweep_dead, primary.ledger.sweep_waiting):
        assert await sweep(epoch, primary.boot) == 0
        with pytest.raises(StaleEpoch):
            await sweep(epoch - 1, primary.boot)
    noted = await primary.sql("select fence, what, epoch from refusals order by id")
    assert noted == [("epoch", "sweep_dead", epoch - 1), ("epoch", "sweep_waiting", epoch - 1)]


async def test_waiting_turns_with_nothing_to_wait_for_are_woken(primary: Primary) -> None:
    blocked = await primary.dead_boots_turn()
    user = User(id=blocked.user_id, name="ada", tenant_id=blocked.tenant_id)
    second = await primary.ledger.accept(user, blocked.conversation_id, "two", client_id="2", boot=None)
    assert second.turn.state is TaskState.WAITING
    await primary.sql("update tasks set state = 'failed', owner_boot = null where id = %s returning 1", blocked.id)
    await primary.promote()
    await primary.until_queued(second.turn)


async def test_an_end_that_went_unsaid_is_said_and_stamped(primary: Primary) -> None:
    turn, heir = await primary.dead_boots_turn(), str(uuid4())
    await primary.ledger.register_boot(heir, "agent-h")
    await primary.ledger.release(turn.owner_boot or "", turns_only=False)
    (claimed,) = await primary.ledger.claim(heir, 1)
    await primary.ledger.end(claimed, heir, Answer(TaskState.DONE, "said"), agent="agent-h")
    await primary.promote()

    async def last_event() -> Any:
        return await primary.redis.data.xrevrange(primary.redis.keys.events(turn.conversation_id), count=1)

    ((_, said),) = await wait_until(last_event, of="the missing last event")
    assert (said["t"], said["turn"]) == ("done", turn.id)


async def test_all_are_told_who_leads(primary: Primary) -> None:
    async def first_hint() -> dict[str, Any]:
        async for hint in event_bus.listen(primary.redis, "agent"):
            return hint
        raise AssertionError

    async def somebody_listens() -> bool:
        channel = primary.redis.keys.channel("agent")
        return bool(dict(await primary.redis.data.pubsub_numsub(channel))[channel])

    heard = asyncio.create_task(first_hint())
    await wait_until(somebody_listens, of="a listener")
    epoch = await primary.promote()
    assert await asyncio.wait_for(heard, 10) == {"type": "routing", "primary": "agent-p", "epoch": epoch}
