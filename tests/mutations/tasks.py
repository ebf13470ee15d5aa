"""Guards of distributed tasks: claimed by the living, committed once, told once, shared fairly."""

from tests.mutations.guard import Guard

_SQL, _LUA = "appliance/core/sql/migrations/0007_pre_tasks.sql", "appliance/core/lua"
_ROWS = "tests/integration/test_task_batches.py::test_"
_STREAMS = "tests/integration/test_task_stream.py::test_"
_RUN = "tests/integration/test_tasks.py::test_"
_POISON = "tests/integration/test_poison.py::test_"
_MULTI = "tests/integration/test_multi.py::test_"

TASKS = [
    Guard("a dead boot claims no task", _SQL,
          "v_suspects uuid[];\nbegin\n  perform 1 from boots where boot = p_boot and dead_at is null for share;\n"
          "  if not found then return; end if;",
          "v_suspects uuid[];\nbegin\n",
          f"{_ROWS}a_dead_boot_claims_nothing_and_commits_nothing"),
    Guard("a task that is not due is not claimed", _SQL,
          "from found where state = 'queued' and due_at <= now();", "from found where state = 'queued';",
          f"{_ROWS}a_delayed_task_is_not_claimed_before_its_time"),
    Guard("a task is committed by the attempt that owns it", _SQL,
          "on m.id = w.id and m.attempt = w.attempt\n   where m.state = 'running' and m.owner_boot = p_boot;",
          "on m.id = w.id;",
          f"{_ROWS}what_is_published_is_claimed_once_and_ends_once"),
    Guard("a failed try is that of the attempt that owns it", _SQL,
          "   where id = p_task and attempt = p_attempt and state = 'running' and owner_boot = p_boot\n  returning *",
          "   where id = p_task\n  returning *",
          f"{_ROWS}a_failed_try_waits_and_the_third_is_dead"),
    Guard("a person's share is a share", _SQL, "<= v_room and w.delay = 0 as now", ">= 0 and w.delay = 0 as now",
          f"{_ROWS}only_a_share_of_a_person_s_tasks_is_told_and_the_rest_follow_as_these_end"),
    Guard("a sweep gives no more than a share", _SQL, "least(p_share - v_told, p_limit)", "p_limit",
          f"{_ROWS}a_sweep_gives_everybody_a_share_and_not_more"),
    Guard("a deposed primary dispatches nothing", _SQL,
          "  if not fenced(p_epoch, p_boot, 'sweep_undispatched') then", "  if false then",
          f"{_ROWS}a_deposed_primary_sweeps_nothing"),
    Guard("what was told to another Redis is told again", _SQL,
          "and o.dispatched_gen is not null and o.dispatched_gen <> p_gen", "and false",
          f"{_ROWS}rows_told_to_another_redis_are_told_to_this_one"),
    Guard("a row has one entry", f"{_LUA}/enqueue.lua",
          "if untold(stream, known) then", "if true then",
          f"{_STREAMS}a_row_has_one_entry_however_often_it_is_told_of"),
    Guard("a mark without its entry hides nothing", f"{_LUA}/enqueue.lua",
          "if not known or #redis.call('XRANGE', stream, known, known) == 0 then return true end",
          "if not known then return true end",
          f"{_STREAMS}a_mark_without_its_entry_does_not_hide_a_row"),
    Guard("rows stamped for another generation are refused", f"{_LUA}/enqueue.lua",
          "if generation ~= args[2] then", "if false then",
          f"{_STREAMS}rows_stamped_for_another_generation_are_refused"),
    Guard("a mark goes only with its own entry", f"{_LUA}/drop.lua",
          "if redis.call('HGET', keys[4], args[i + 2]) == args[i + 1] then", "if true then",
          f"{_STREAMS}what_was_dropped_may_be_told_of_again"),
    Guard("what was read and left is read again", f"{_LUA}/fetch.lua", "if tonumber(args[4]) > 0 then", "if false then",
          f"{_STREAMS}what_was_read_and_not_dropped_comes_again_to_somebody_else"),
    Guard("an old head counts one class up", f"{_LUA}/fetch.lua", "SHARES[aged and math.max(1, class - 1) or class]",
          "SHARES[class]", f"{_STREAMS}a_stream_whose_head_is_old_counts_one_class_up"),
    Guard("a runner's own death is counted", "agent_image/keeper/main.py",
          "        if crashed:\n", "        if False:\n",
          f"{_POISON}a_task_that_kills_its_runner_is_dead_at_the_third_and_its_neighbours_are_not"),
    Guard("a suspect is taken alone", _SQL, "v_ids := v_ids || v_suspects[1];\n    v_suspects := v_suspects[2:];",
          "v_ids := v_ids || v_suspects;\n    v_suspects := null;",
          f"{_POISON}a_task_that_kills_its_runner_is_dead_at_the_third_and_its_neighbours_are_not"),
    Guard("only the primary orchestrates", _SQL, "and (p_leads or role <> 'orchestrate')", "",
          f"{_MULTI}the_primary_orchestrates_whoever_was_asked"),
    Guard("what a sub-agent's model said is said once", "agent_image/runner/multi/sub_agent.py",
          "        if step.done and step.result is not None:\n            return step.result\n", "",
          "tests/integration/test_sub_agent.py::test_a_call_that_an_earlier_attempt_finished_is_replayed"),
]  # fmt: skip
