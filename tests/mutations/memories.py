"""Guards of memories: kept once, seen by their own person, gone for good once erased."""

from tests.mutations.guard import Guard

_SQL = "appliance/core/sql/migrations/0012_pre_memories.sql"
_QUERIES = "appliance/core/sql/queries/memories.sql"
_ROWS = "tests/integration/test_memory_store.py::test_"
_LATER = "tests/integration/test_memory_erasure.py::test_"

MEMORIES = [
    Guard(
        "a decision that was overtaken is made again",
        _SQL,
        "  if v_head.version is distinct from p_seen then\n",
        "  if false then\n",
        f"{_ROWS}of_two_agents_that_decide_at_the_same_moment_one_decides_again",
    ),
    Guard(
        "the same text is one memory",
        _SQL,
        "(select m.id from memories m where m.user_id = p_user and m.hash = v_hash and m.valid_to is null)",
        "null",
        f"{_ROWS}the_same_text_is_one_memory_with_another_source",
    ),
    Guard(
        "the same message is one source",
        _SQL,
        "if v_same is not null and found then",
        "if v_same is not null then",
        f"{_ROWS}the_same_message_is_no_second_source",
    ),
    Guard(
        "what somebody else has is not closed",
        _SQL,
        "               where not exists(select 1 from memories m where m.id = n.id and m.user_id = p_user)) then",
        "               where false) then",
        f"{_ROWS}nobody_sees_corrects_pins_or_erases_anothers",
    ),
    Guard(
        "one sees one's own",
        _QUERIES,
        "select * from memories\n where tenant_id = %(tenant)s and user_id = %(user)s and (id",
        "select * from memories\n where (id",
        f"{_ROWS}nobody_sees_corrects_pins_or_erases_anothers",
    ),
    Guard(
        "neighbours are one's own",
        _QUERIES,
        " where m.tenant_id = %(tenant)s and m.user_id = %(user)s and m.valid_to is null\n   and vector_dims",
        " where m.valid_to is null\n   and vector_dims",
        f"{_ROWS}neighbours_are_this_persons_living_ones_of_the_same_model",
    ),
    Guard(
        "vectors of other dimensions are no neighbours",
        _QUERIES,
        "\n   and vector_dims(v.embedding) = vector_dims(%(vector)s::vector)",
        "",
        f"{_ROWS}neighbours_of_other_dimensions_are_none",
    ),
    Guard(
        "an erased text does not come back",
        _SQL,
        "(t.digest = sha256(v_head.salt || v_hash) or v_message",
        "(v_message",
        f"{_LATER}what_is_erased_does_not_come_back_by_itself",
    ),
    Guard(
        "a message whose memory was erased is not read again",
        _SQL,
        " or v_message = any(t.messages))",
        ")",
        f"{_LATER}what_is_erased_does_not_come_back_by_itself",
    ),
    Guard(
        "a digest is salted",
        _SQL,
        "p_user, sha256(v_head.salt || m.hash),",
        "p_user, m.hash,",
        f"{_LATER}a_tombstone_tells_nobody_the_text",
    ),
    Guard(
        "the chain is erased, too",
        _SQL,
        "on m.superseded_by = c.id or m.id =",
        "on m.id =",
        f"{_LATER}what_is_erased_is_gone_with_its_chain_and_its_vectors",
    ),
    Guard(
        "turns are read once",
        _SQL,
        "c.promoted_turn <> (p_promotion->>'from')::int - 1",
        "false",
        f"{_LATER}a_range_of_turns_is_promoted_once",
    ),
    Guard(
        "a deleted conversation is not read",
        _SQL,
        "(p_promotion->>'conversation')::uuid and c.deleted_at is null for update",
        "(p_promotion->>'conversation')::uuid for update",
        f"{_LATER}a_conversation_rests_before_it_is_due_and_a_deleted_one_never_is",
    ),
    Guard(
        "a turn that ended meanwhile is not forgotten",
        _SQL,
        "                             then c.idle_since end\n",
        "                             then null end\n",
        f"{_LATER}a_turn_that_ends_while_others_are_read_is_read_next_time",
    ),
    Guard(
        "what changed since it was read stays to be indexed",
        _QUERIES,
        "case when m.version = i.version then %(current)s else '' end\n  from",
        "%(current)s\n  from",
        f"{_LATER}the_index_learns_of_each_change_and_of_a_new_life_of_redis",
    ),
    Guard(
        "a change is told to the index",
        _QUERIES,
        "update memories set pinned = %(pinned)s, version = version + 1, indexed = ''",
        "update memories set pinned = %(pinned)s",
        f"{_LATER}the_index_learns_of_each_change_and_of_a_new_life_of_redis",
    ),
]
