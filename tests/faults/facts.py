"""What an audit looks at: both stores, logs, processes, and what clients were told."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from appliance.core.redis import Redis
from tests.faults.chat import Acknowledged
from tests.faults.seats import Seat

ENDED = ("done", "failed", "dead", "cancelled")
HISTORY = """
create table if not exists task_history(
  id uuid not null, attempt int not null, state text not null, priority text not null,
  at timestamptz not null default clock_timestamp());
create or replace function note_task() returns trigger language plpgsql as $$
begin
  insert into task_history(id, attempt, state, priority) values (new.id, new.attempt, new.state, new.priority);
  return null;
end $$;
create or replace trigger note_task after update of state on tasks for each row
  when (new.kind <> 'conversation') execute function note_task();
"""
"""Every claim and every end of a task, kept in the transaction that makes it: a row that ended twice shows it here."""


@dataclass(kw_only=True)
class Facts:
    """What there is to look at."""

    sql: psycopg.AsyncConnection[Any]
    redis: Redis
    acknowledged: Sequence[Acknowledged] = ()
    published: Sequence[str] = ()
    """Tasks that were accepted."""
    culprits: Collection[str] = ()
    """Those among them that kill or hang whoever runs them, and are to be dead in the end."""
    effects: Mapping[str, int] = field(default_factory=dict)
    """What a service outside did: key → the number of the deed."""
    drained: bool = False
    """Whether nothing but drains befell the agents."""
    overlaps: set[tuple[Seat, Seat]] = field(default_factory=set)
    keepers: Mapping[str, int] = field(default_factory=dict)
    """Agent → process id of those that should be in the cluster; their descendants belong to them."""
    listed: Callable[[], str] | None = None
    """The gateway's list of agents."""
    programs: Mapping[str, int] = field(default_factory=dict)
    logs: Mapping[str, Path] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)

    async def rows(self, query: str, **values: object) -> list[dict[str, Any]]:
        """Ask the system of record."""
        return list(await (await self.sql.execute(query.encode(), values)).fetchall())

    async def turns(self) -> list[dict[str, Any]]:
        """Return the rows of all turns that were acknowledged."""
        return await self.rows("select * from tasks where id = any(%(ids)s)", ids=[it.turn for it in self.acknowledged])

    async def tasks(self) -> dict[str, dict[str, Any]]:
        """Return the rows of all tasks that were accepted, by id."""
        query = "select * from tasks where id = any(%(ids)s)"
        return {str(row["id"]): row for row in await self.rows(query, ids=list(self.published))}


Check = Callable[[Facts], Awaitable[list[str]]]
