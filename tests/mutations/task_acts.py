"""Guards of what operators do to tasks: once per key, only what makes sense, fenced against earlier attempts."""

from tests.mutations.guard import Guard

_SQL = "appliance/core/sql/migrations/0009_pre_task_pages.sql"
_ACTS = "tests/integration/test_task_acts.py::test_"
_LISTS = "tests/integration/test_task_lists.py::test_"
_PAGES = "tests/integration/test_control_tasks.py::test_"

TASK_ACTS = [
    Guard("attempts of a requeued task count on", _SQL,
          "update tasks set state = 'queued', fail_count = 0,",
          "update tasks set state = 'queued', attempt = 0, fail_count = 0,",
          f"{_ACTS}whoever_still_works_on_an_earlier_attempt_cannot_end_a_requeued_task"),
    Guard("a requeued task forgets that it was to stop", _SQL,
          "due_at = now(), state_at = now(), cancel_requested_at = null,", "due_at = now(), state_at = now(),",
          f"{_ACTS}a_task_that_was_to_stop_when_it_died_does_not_stop_at_once_when_requeued"),
    Guard("a requeued task is nobody's in Redis", _SQL,
          "deadline_at = null, dispatched_at = null, dispatched_gen = null", "deadline_at = null",
          f"{_ACTS}a_requeued_task_is_told_to_redis_by_the_next_sweep"),
    Guard("steps of another payload are not replayed", _SQL,
          "    if p_payload <> p_task.payload then", "    if false then",
          f"{_ACTS}finished_steps_are_replayed_unless_they_answered_another_payload"),
    Guard("another payload has other keys", "appliance/core/sql/migrations/0014_pre_edited.sql",
          "  new.edits := old.edits + 1;\n", "",
          f"{_ACTS}finished_steps_are_replayed_unless_they_answered_another_payload"),
    Guard("a mere requeue keeps the keys", "appliance/core/sql/migrations/0014_pre_edited.sql",
          "\n  when (old.payload is distinct from new.payload)", "",
          f"{_ACTS}each_change_of_a_payload_has_keys_of_its_own_and_a_mere_requeue_keeps_them"),
    Guard("only what makes sense is done", _SQL,
          "    if v_why ->> v.id::text = '' then perform", "    if true then perform",
          f"{_ACTS}what_makes_no_sense_is_refused_with_its_reason_and_audited"),
    Guard("a key counts once", _SQL,
          "  if not found then\n    select * into v_asked from requests where key = p_key;",
          "  if false then\n    select * into v_asked from requests where key = p_key;",
          f"{_ACTS}a_request_sent_twice_counts_once"),
    Guard("a key belongs to one request", _SQL,
          "    if (v_asked.action, v_asked.subject) is distinct from (p_action, v_subject) then", "    if false then",
          f"{_ACTS}a_request_sent_twice_counts_once"),
    Guard("a task is acted upon under its lock", _SQL,
          "select * from tasks where id = any(p_ids) order by id for update loop",
          "select * from tasks where id = any(p_ids) order by id loop",
          f"{_ACTS}of_two_people_who_act_on_the_same_task_one_is_told_why_not"),
    Guard("a cancelled turn lets the next one go on", _SQL,
          "    if p_task.kind = 'conversation' and p_action = 'cancel' then perform", "    if false then perform",
          f"{_ACTS}a_cancelled_turn_lets_the_next_one_of_its_conversation_go_on"),
    Guard("what became of an attempt is kept", _SQL,
          "  when (old.state = 'running' and new.state in ('queued', 'waiting', 'dead'))", "  when (false)",
          f"{_LISTS}the_life_of_a_task_is_told_from_its_rows"),
    Guard("all that are dead are those that were", "appliance/core/sql/queries/task_lists.sql",
          "where f.at <= %(until)s order by f.no", "where %(until)s is not null order by f.no",
          f"{_ACTS}all_that_are_dead_are_requeued_by_kind_turns_and_later_deaths_left_alone"),
    Guard("a viewer acts on no task by JSON", "control_plane/api_tasks.py",
          'operation_id="act_on_task", status_code=200, guards=OPERATOR)',
          'operation_id="act_on_task", status_code=200)',
          f"{_PAGES}a_viewer_reads_and_does_nothing"),
]  # fmt: skip
