"""Conversations that rest, as rows: what was said in them long ago, for promotion to find."""

from typing import Any
from uuid import uuid4

import psycopg

_PERSON = """
insert into users(tenant_id, name) values ('default', %s)
on conflict (tenant_id, name) do update set name = excluded.name returning id"""
_TURN = """
with turn as (
  insert into tasks(id, tenant_id, user_id, conversation_id, kind, state, turn_no, announced_at, idem_key, result,
                    attempt)
  values (%(task)s::uuid, 'default', %(user)s, %(conversation)s, 'conversation', 'done', %(no)s, now(), %(task)s,
          '{"attempt": 1}', 1) returning id),
answered as (
  insert into messages(id, tenant_id, user_id, conversation_id, task_id, turn_no, role, text, meta)
  select gen_random_uuid(), 'default', %(user)s, %(conversation)s, id, %(no)s, 'assistant', 'I see.', '{"attempt": "1"}'
    from turn)
insert into messages(id, tenant_id, user_id, conversation_id, task_id, turn_no, role, text)
select gen_random_uuid(), 'default', %(user)s, %(conversation)s, id, %(no)s, 'user', %(text)s from turn"""


async def rest(sql: psycopg.AsyncConnection[Any], person: str, *texts: str) -> str:
    """Insert a conversation whose turns have ended; return its id."""
    row: Any = await (await sql.execute(_PERSON.encode(), [person])).fetchone()
    user, conversation = row["id"], str(uuid4())
    await sql.execute(
        b"insert into conversations(id, tenant_id, user_id) values (%s, 'default', %s)", [conversation, user]
    )
    for no, text in enumerate(texts, 1):
        await sql.execute(_TURN.encode(), {
            "task": str(uuid4()), "user": user, "conversation": conversation, "no": no, "text": text,
        })  # fmt: skip
    await sql.execute(b"update conversations set idle_since = clock_timestamp() where id = %s", [conversation])
    return conversation
