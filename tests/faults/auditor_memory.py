"""Was every message that rests read for memories exactly once? Rows only: stamps, and where memories come from."""

from typing import Any

from tests.faults.facts import Facts

_RANGES = """
select c.id, c.promoted_turn,
       (select array_agg(array[p.from_turn, p.to_turn] order by p.from_turn) from promotions p
         where p.conversation_id = c.id) as ranges
  from conversations c where c.promoted_turn > 0 or exists(select 1 from promotions p where p.conversation_id = c.id)
"""
_UNSTAMPED = """
select s.memory_id, s.conversation_id, s.turn_no from memory_sources s
 where s.source = 'message'
   and not exists(select 1 from promotions p where p.conversation_id = s.conversation_id
                    and s.turn_no between p.from_turn and p.to_turn)
"""
_LOST = """
select c.id, min(t.turn_no) as turn_no
  from conversations c join tasks t on t.conversation_id = c.id and t.kind = 'conversation' and t.state = 'done'
 where c.idle_since is null and c.deleted_at is null and t.turn_no > c.promoted_turn group by c.id
"""
_TWICE = "select idem_key, count(*) from tasks where kind = 'promote' group by idem_key having count(*) > 1"


async def messages_are_read_once(facts: Facts) -> list[str]:
    """I18: ranges follow each other without gap or overlap, what was not read waits to be, and nothing is remembered
    from outside of them.
    """
    holes = [why for row in await facts.rows(_RANGES) if (why := _hole(row))]
    unstamped = [
        f"memory {row['memory_id']} comes from turn {row['turn_no']} of {row['conversation_id']}, which nobody read"
        for row in await facts.rows(_UNSTAMPED)
    ]
    lost = [f"of {row['id']} turn {row['turn_no']} will be read by nobody" for row in await facts.rows(_LOST)]
    return holes + lost + unstamped + [f"{row['idem_key']} is several tasks" for row in await facts.rows(_TWICE)]


def _hole(row: dict[str, Any]) -> str:
    ranges = row["ranges"] or []
    begins = [1, *(to + 1 for _, to in ranges)]
    if [first for first, _ in ranges] != begins[:-1] or begins[-1] != row["promoted_turn"] + 1:
        return f"of {row['id']} the turns {ranges} were read, its row says up to {row['promoted_turn']}"
    return ""
