"""A ledger with a boot of its own: tasks that wait, run, end and die in a moment, without any agent."""

from collections.abc import Sequence
from uuid import UUID, uuid4

from appliance.core.approvals import Approval, Approvals
from appliance.core.postgres import Postgres
from appliance.core.records import Ended, Priority, Task, TaskState, Turn, User
from appliance.core.task_batches import Done, TaskBatches, Wanted
from appliance.core.task_ledger import Answer, TaskLedger, hash_of

GEN = "g1"


class Letters:
    """Publishes, claims and ends by hand."""

    def __init__(self, postgres: Postgres) -> None:
        self.postgres = postgres
        self.batches = TaskBatches(postgres, timeout_s=60, max_queued=100_000)
        self.turns = TaskLedger(postgres, turn_timeout_s=60, max_queued=1000)
        self.approvals = Approvals(postgres, within_s=3600)
        self.boot, self.agent = str(uuid4()), "agent-1"

    async def open(self) -> None:
        await self.turns.register_boot(self.boot, self.agent)

    async def user(self, name: str = "ada") -> User:
        row = await self.postgres.row("ensure_user", tenant="default", name=name, role="operator")
        assert row is not None
        return User(id=str(row["id"]), name=name)

    async def put_up(
        self, count: int = 1, *, kind: str = "nothing", by: str = "ada", priority: Priority = "normal",
        parent: str | None = None, delay_s: float = 0.0, needs: tuple[str, ...] = (),
    ) -> list[UUID]:  # fmt: skip
        wanted = [Wanted(kind, {"n": n}, priority, delay_s, needs=needs) for n in range(count)]
        found = await self.batches.submit(await self.user(by), wanted, generation=GEN, share=10_000, parent=parent)
        return [UUID(it) for it in found.ids]

    async def take(self, ids: Sequence[UUID], boot: str = "") -> list[Task]:
        return list((await self.batches.claim(boot or self.boot, [str(it) for it in ids])).tasks)

    async def end(self, tasks: Sequence[Task], state: TaskState = TaskState.DONE) -> set[UUID]:
        done = [Done(task, Ended(state, {"by": task.attempt})) for task in tasks]
        return {UUID(it) for it in (await self.batches.commit(self.boot, GEN, done)).ended}

    async def dead(self, count: int = 1, *, kind: str = "nothing", by: str = "ada", why: str = "no luck") -> list[UUID]:
        """Let tasks fail three times."""
        ids = await self.put_up(count, kind=kind, by=by)
        for number in (1, 2, 3):
            for task in await self.take(ids):
                await self.batches.fail(task, self.boot, reason=f"{why} {number}", delay_s=0)
        return ids

    async def turn(self, text: str = "why?", *, by: str = "ada", conversation: str = "") -> Turn:
        """Begin a turn on this boot."""
        accepted = await self.turns.accept(
            await self.user(by), conversation or str(uuid4()), text, client_id=str(uuid4()), boot=self.boot,
            create=not conversation,
        )  # fmt: skip
        return accepted.turn

    async def answer(self, turn: Turn, state: TaskState = TaskState.DONE, text: str | None = "so") -> None:
        await self.turns.end(turn, self.boot, Answer(state, text, reason="" if text else "no model"), agent=self.agent)

    async def question(self, *, by: str = "ada", tool: str = "send", about: int = 0) -> tuple[Turn, Approval]:
        """Let a turn ask its user about a call."""
        turn = await self.turn(by=by)
        given = {"to": "ada@example.org", "what": "<b>hello</b>"}
        return turn, await self.approvals.ask(
            turn, self.boot, 2, about=about, tool=tool, given=given, input_hash=hash_of(str(given))
        )

    async def dead_turn(self) -> Turn:
        """Let a turn be there when three runners die."""
        turn = await self.turn()
        for _ in range(3):
            await self.turns.note_crash(self.boot)
        return turn

    async def row(self, task: UUID) -> dict[str, object]:
        async with self.postgres._pool.connection() as connection:
            row = await (await connection.execute("select * from tasks where id = %s", [task])).fetchone()
        assert row is not None
        return row
