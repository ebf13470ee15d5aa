"""Guards of work and life: attempts, boots, event streams, deaths, signatures, forms, the audit (PROTOCOLS 7, 8)."""

from tests.mutations.guard import Guard

_TURNS = "appliance/core/sql/migrations/0002_pre_turns.sql"
_FAILOVER = "appliance/core/sql/migrations/0003_pre_failover.sql"
_TASKS = "appliance/core/sql/migrations/0007_pre_tasks.sql"
_TOOLS = "appliance/core/sql/migrations/0008_pre_tools.sql"
_LUA = "appliance/core/lua"
_HEALTH = "appliance/core/health.py"
_TILT = "agent_image/keeper/tilt.py"
_LIVENESS = "agent_image/keeper/liveness.py"
_WEB = "appliance/web/protection.py"
_LEDGER = "tests/integration/test_task_ledger.py::test_"
_ATTEMPT = "tests/integration/test_attempt_fence.py::test_"
_EVENTS = "tests/integration/test_conversation_events.py::test_"
_REGISTRY = "tests/integration/test_registry.py::test_"
_WATCH = "tests/integration/test_watch.py::test_"

WORK = [
    Guard("a message sent twice is one turn", _TASKS, "\n  if found then return; end if;", "",
          f"{_LEDGER}the_same_client_id_is_one_turn"),
    Guard("a dead boot accepts nothing for itself", _TASKS, " and b.dead_at is null for share", " for share",
          f"{_LEDGER}a_dead_boot_claims_nothing"),
    Guard("a dead boot claims nothing", _TASKS, "declare v_suspects boolean;\nbegin\n"
          "  perform 1 from boots where boot = p_boot and dead_at is null for share;",
          "declare v_suspects boolean;\nbegin\n  perform 1 from boots where boot = p_boot for share;",
          f"{_LEDGER}a_dead_boot_claims_nothing"),
    Guard("a burial waits for claims in flight", _TASKS, "declare v_suspects boolean;\nbegin\n"
          "  perform 1 from boots where boot = p_boot and dead_at is null for share;",
          "declare v_suspects boolean;\nbegin\n  perform 1 from boots where boot = p_boot and dead_at is null;",
          f"{_ATTEMPT}a_burial_waits_for_a_claim_in_flight"),
    Guard("a turn ends by its attempt", _FAILOVER,
          "attempt = p_attempt and state = 'running' and owner_boot = p_boot\n  returning",
          "state = 'running' and owner_boot = p_boot\n  returning",
          f"{_ATTEMPT}an_attempt_before_ends_nothing_even_in_the_same_boot"),
    Guard("a turn ends by its boot", _FAILOVER,
          "state = 'running' and owner_boot = p_boot\n  returning", "state = 'running'\n  returning",
          f"{_ATTEMPT}another_boot_ends_nothing_even_with_the_attempts_number"),
    Guard("a step begins by its attempt", _TOOLS,
          "select * into v from tasks where id = p_task and attempt = p_attempt and state = 'running' "
          "and owner_boot = p_boot\n    for share",
          "select * into v from tasks where id = p_task and state = 'running' and owner_boot = p_boot\n    for share",
          f"{_ATTEMPT}an_attempt_before_begins_no_step_even_in_the_same_boot"),
    Guard("a turn is queued again by its attempt", _TURNS,
          "attempt = p_attempt and state = 'running' and owner_boot = p_boot;",
          "state = 'running' and owner_boot = p_boot;",
          f"{_ATTEMPT}an_attempt_before_does_not_queue_the_turn_again"),
    Guard("a step's result is its attempt's", "appliance/core/sql/queries/turns.sql",
          "attempt = %(attempt)s and state = 'intent' returning", "state = 'intent' returning",
          f"{_LEDGER}a_step_taken_over_refuses_the_old_attempts_result"),
    Guard("a finished step is replayed", "appliance/core/task_ledger.py", 'return self.state == "done"', "return False",
          f"{_LEDGER}a_step_finished_by_a_dead_attempt_is_replayed_by_the_next"),
]  # fmt: skip

EVENTS = [
    Guard("only the newest attempt appends", f"{_LUA}/append.lua", "opened ~= args[3]", "false",
          f"{_EVENTS}only_the_attempt_opened_last_may_append"),
    Guard("an attempt nobody opened appends nothing", f"{_LUA}/append.lua", "if not opened then", "if false then",
          f"{_EVENTS}an_attempt_nobody_opened_is_refused"),
    Guard("an opened attempt shuts the older ones out", f"{_LUA}/open_attempt.lua", "before > attempt", "false",
          f"{_EVENTS}only_the_attempt_opened_last_may_append"),
    Guard("events of an empty Redis are refused", f"{_LUA}/open_attempt.lua", "if refusal then return refusal end", "",
          f"{_EVENTS}an_empty_redis_refuses_until_it_is_initialised"),
    Guard("a cursor of another generation is unknown", "appliance/core/conversation_events.py",
          "if generation != position.generation:", "if False:",
          f"{_EVENTS}cursors_of_another_generation_or_beyond_the_end_are_unknown"),
]  # fmt: skip

LIFE = [
    Guard("a beat into an empty Redis registers nobody", f"{_LUA}/beat.lua", "if generation then", "if true then",
          f"{_REGISTRY}a_beat_into_an_empty_redis_registers_nobody"),
    Guard("the first generation stays", f"{_LUA}/initialise.lua", ", 'NX'", "",
          f"{_REGISTRY}the_first_to_initialise_wins_and_the_epoch_only_rises"),
    Guard("the cached epoch only rises", f"{_LUA}/initialise.lua", "tonumber(args[2]) > cached", "true",
          f"{_REGISTRY}the_first_to_initialise_wins_and_the_epoch_only_rises"),
    Guard("an old boot's leave is not the new one's", f"{_LUA}/leave.lua",
          "if redis.call('HGET', keys[1], 'boot') ~= args[2] then return 0 end", "",
          f"{_REGISTRY}a_late_leave_of_an_old_boot_does_not_touch_the_new_one"),
    Guard("silence buries nobody in tilt", _HEALTH,
          'if tilted:\n        return Verdict(Act.NOTHING, "observer in tilt")\n    if gone_s', "if gone_s",
          "tests/unit/test_health.py::test_an_observer_in_tilt_declares_nobody_dead"),
    Guard("an ended connection buries nobody in tilt", _HEALTH,
          'if tilted:\n        return Verdict(Act.NOTHING, "observer in tilt")\n    if silent_s', "if silent_s",
          "tests/unit/test_health.py::test_an_observer_in_tilt_declares_nobody_dead"),
    Guard("an ended connection wants two witnesses", _HEALTH, "if voters >= 2:", "if voters >= 1:",
          "tests/unit/test_health.py::test_an_ended_connection_alone_is_not_death"),
    Guard("or an unmoved beat", _HEALTH, "if silent_s >= UNMOVED_BEAT_S:", "if True:",
          "tests/unit/test_health.py::test_an_ended_connection_alone_is_not_death"),
    Guard("a peer that answers is not suspected", "agent_image/keeper/watch.py",
          "if not await self._probes_fail(peer):\n            return None", "pass",
          f"{_WATCH}a_connection_that_ends_while_its_keeper_answers_is_no_death"),
    Guard("who hears a peer again is no witness", "agent_image/keeper/watch.py",
          "await self._registry.withdraw_suspicion(peer.boot, voter=self._me)", "pass",
          f"{_WATCH}a_keeper_that_hears_a_peer_again_is_no_witness_of_the_next_cut"),
    Guard("a peer that beats is not buried", "agent_image/keeper/watch.py",
          "judge_eof(voters, silent_s", "judge_eof(voters + 1, silent_s",
          f"{_WATCH}a_peer_that_only_this_keeper_cannot_reach_is_left_alone_while_it_beats"),
    Guard("a gap is tilt", _TILT, "if late_s > TILT_GAP_S or gap_s > TILT_GAP_S:", "if False:",
          "tests/unit/test_tilt.py::test_a_gap_of_the_own_timer_is_tilt"),
    Guard("a silent Redis is tilt", _TILT, " or monotonic() - self.redis_answered_at > TILT_GAP_S", "",
          "tests/unit/test_tilt.py::test_redis_silence_is_tilt_from_the_first_moment_that_is_too_long"),
    Guard("a clock's step is tilt", _TILT, "abs(offset - self._clock_offset) > CLOCK_STEP_S", "False",
          "tests/unit/test_tilt.py::test_a_step_of_redis_clock_is_tilt"),
    Guard("lost data are tilt", _TILT, "generation != self._generation", "False",
          "tests/unit/test_tilt.py::test_a_redis_that_lost_its_data_is_tilt"),
    Guard("tilt does not go on for ever", _TILT, "if inside and self._again and not always:", "if False:",
          "tests/unit/test_tilt.py::test_under_steady_overload_tilt_is_prolonged_only_once"),
    Guard("a runner dies with its keeper", "agent_image/runner/__main__.py",
          "ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)", "",
          "tests/unit/test_death_signal.py::test_the_kernel_kills_a_runner_whose_keeper_was_killed"),
    Guard("who listens for a turn is told its end when its events are gone", "agent_image/runner/feed.py",
          "(*await self._ended(), Event(", "(Event(",
          "tests/integration/test_turns.py::test_who_comes_after_the_end_without_a_cursor_is_told_it_by_its_row"),
    Guard("a turn is told in its own conversation", "appliance/core/sql/queries/turns.sql",
          " and t.conversation_id = %(conversation)s and t.state in", " and t.state in",
          "tests/integration/test_turns.py::test_the_end_of_a_turn_is_told_in_its_own_conversation_only"),
]  # fmt: skip

DOORS = [
    Guard("a hello is signed", _LIVENESS, "fresh and hmac.compare_digest(mac, self._mac(fields))", "fresh",
          "tests/unit/test_liveness.py::test_what_another_secret_signed_is_not_believed"),
    Guard("a hello answers this question", _LIVENESS, ' or said.get("nonce") != nonce', "",
          "tests/unit/test_liveness.py::test_an_answer_to_somebody_elses_question_is_not_believed"),
    Guard("a hello is of today", _LIVENESS, "if fresh and ", "if ",
          "tests/unit/test_liveness.py::test_a_hello_of_last_week_is_not_believed"),
    Guard("strangers are refused", _WEB, 'connection.scope.get("user") is None', "False",
          "tests/unit/test_web_guards.py::test_a_stranger_is_refused"),
    Guard("other sites are refused", _WEB, "or (site is None and origin is None)", "or True",
          "tests/unit/test_web_guards.py::test_what_another_site_makes_a_browser_send_is_refused"),
    Guard("forms carry our token", _WEB, "if not hmac.compare_digest(", "if False and hmac.compare_digest(",
          "tests/unit/test_web_guards.py::test_a_form_that_is_not_ours_is_refused"),
    Guard("the audit log is append-only", _FAILOVER, "raise exception 'audit_log is append-only';", "return null;",
          "tests/integration/test_orders.py::test_the_audit_log_is_append_only"),
    Guard("the audit log is a chain", _FAILOVER, "sha256(coalesce(v_before, ''::bytea)", "sha256(''::bytea",
          "tests/integration/test_orders.py::test_orders_given_at_once_are_each_audited_and_the_chain_holds"),
    Guard("runners cannot write what elections rest on", "appliance/core/acl.py",
          "*tasks, *vectors, *memories],", "*tasks, *vectors, *memories, *registry, *elections],",
          "tests/unit/test_acl.py::test_only_keepers_write_what_elections_rest_on"),
]  # fmt: skip
