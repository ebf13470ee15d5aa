"""Guards of reminders and jobs: fired once, by the primary in force, for whom they belong to."""

from tests.mutations.guard import Guard

_SQL = "appliance/core/sql/migrations/0010_pre_schedules.sql"
_QUERIES = "appliance/core/sql/queries/schedules.sql"
_FIRING, _WISHES = "agent_image/runner/schedules/firing.py", "agent_image/runner/schedules/wishes.py"
_ROWS = "tests/integration/test_schedules.py::test_"
_RUN = "tests/integration/test_reminders.py::test_"

SCHEDULES = [
    Guard("a deposed primary fires nothing", _SQL,
          "  if not fenced(p_epoch, p_boot, 'fire_schedule') then return null; end if;\n", "",
          f"{_ROWS}a_deposed_primary_fires_nothing_and_that_is_noted"),
    Guard("an instant is fired once", _SQL, "and state = 'active' and next_at = p_due", "and state = 'active'",
          f"{_ROWS}an_instant_is_fired_once_however_many_primaries_saw_it_due"),
    Guard("an instant has one turn", _SQL, "  on conflict (idem_key) do nothing;\n", ";\n",
          f"{_ROWS}an_instant_that_comes_again_by_hand_is_not_fired_again"),
    Guard("what was cancelled is not fired", _SQL, "and state = 'active' and next_at = p_due", "and next_at = p_due",
          f"{_ROWS}what_was_cancelled_is_not_fired_even_by_who_saw_it_due_before"),
    Guard("what was deleted is not fired", _SQL, " and c.deleted_at is null for update of c", " for update of c",
          f"{_ROWS}those_of_a_deleted_conversation_are_neither_listed_nor_fired"),
    Guard("a run waits for the turn before it", _SQL, "    v_state := 'waiting';\n", "    null;\n",
          f"{_ROWS}a_run_waits_for_the_turn_before_it"),
    Guard("a run that waits is told of", "agent_image/runner/turns/announcer.py",
          "if turn is not None and turn.state is TaskState.WAITING:", "if False:",
          f"{_RUN}an_open_page_is_told_at_once_of_a_reminder_that_waits_behind_a_turn"),
    Guard("a job does not run beside itself", _QUERIES,
          "\n   and not exists(select 1 from tasks t where t.id = s.last_task and t.state in "
          "('queued', 'running', 'waiting'))", "",
          f"{_ROWS}a_job_never_runs_beside_itself"),
    Guard("a reminder is set in one's own conversation", _SQL,
          "and tenant_id = p_tenant and user_id = p_user and deleted_at is null for share", "for share",
          f"{_ROWS}nobody_else_sees_cancels_or_makes_one_in_a_persons_conversation"),
    Guard("a schedule is cancelled by its person", _QUERIES, "user_id = %(user)s and (id =", "(id =",
          f"{_ROWS}nobody_else_sees_cancels_or_makes_one_in_a_persons_conversation"),
    Guard("the same schedule twice is one", _SQL,
          "  return query select * from schedules where id = p_id and user_id = p_user;\n"
          "  if found then return; end if;\n", "",
          f"{_ROWS}the_same_id_is_one_and_numbers_are_never_used_again"),
    Guard("schedules are numbered one after the other", _SQL,
          "  perform 1 from users where id = p_user for no key update;\n", "",
          f"{_ROWS}one_that_is_made_beside_another_has_the_number_after_it"),
    Guard("a person has so many schedules and no more", _SQL, ">= p_max then", ">= 1000 then",
          f"{_ROWS}a_person_has_so_many_and_no_more"),
    Guard("missed runs are one late run", _FIRING, "it.time_zone, due.now)", "it.time_zone, due.at)",
          f"{_ROWS}a_job_that_missed_runs_has_one_late_one_and_goes_on_from_now"),
    Guard("missed runs are skipped where that is wanted", _FIRING, 'it.missed == "skip" and', "False and",
          f"{_ROWS}a_job_that_skips_missed_runs_has_none_and_goes_on_from_now"),
    Guard("hardly late is not missed", _FIRING, " and due.late_s > LATE_S", "",
          f"{_ROWS}a_job_that_skips_still_runs_when_it_is_hardly_late"),
    Guard("one schedule that cannot be fired holds up no other", _FIRING,
          "                continue\n            fired =", "                raise\n            fired =",
          f"{_ROWS}one_that_cannot_be_fired_here_holds_up_nobody_elses"),
    Guard("an hour that comes twice brings nothing back", "agent_image/runner/schedules/instants.py",
          " if (at := it.astimezone(UTC)) > after)", " if (at := it.astimezone(UTC)))",
          "tests/unit/test_instants.py::test_in_the_second_pass_of_an_hour_nothing_of_the_first_comes_again"),
    Guard("a job makes no other jobs", _WISHES, "    if is_command(text):\n", "    if False:\n",
          "tests/unit/test_commands.py::test_what_cannot_be_is_refused_with_a_sentence"),
    Guard("commands are checked before they are accepted", "agent_image/runner/conversations.py",
          "        self._commands.check(text)\n", "",
          f"{_RUN}a_command_that_cannot_be_is_refused_before_anything_is_kept"),
    Guard("a ready answer asks no model", "agent_image/runner/turns/turn.py", "            if ready is not None:\n",
          "            if False:\n", f"{_RUN}a_reminder_is_set_and_comes_and_no_model_is_asked"),
    Guard("a command carried out again makes nothing new", "agent_image/runner/commands/commands.py",
          "id_=turn.id", 'id_=__import__("uuid").uuid4().hex',
          f"{_RUN}a_command_whose_agent_dies_before_it_is_committed_is_carried_out_once"),
]  # fmt: skip
