"""Guards of tools and of what a person is asked."""

from tests.mutations.guard import Guard

_SQL = "appliance/core/sql/migrations/0008_pre_tools.sql"
_RUN, _FETCH = "agent_image/runner/tools/running.py", "agent_image/runner/tools/web_fetch.py"
_TOOLS = "tests/integration/test_tools.py::test_"
_ASKED = "tests/integration/test_approvals.py::test_"
_WEB = "tests/integration/test_web_fetch.py::test_"

TOOLS = [
    Guard("a cut off call with side effects is in doubt", _SQL,
          "then 'unknown' else s.state end,", "then s.state else s.state end,",
          f"{_TOOLS}a_cut_off_call_with_side_effects_asks_and_goes_on_as_told"),
    Guard("a finished call is replayed", _RUN, "        if step.done:\n", "        if False:\n",
          f"{_TOOLS}a_finished_call_is_replayed_when_its_agent_dies"),
    Guard("what needs approval is asked first", _RUN, "if tool.approval and (", "if False and (",
          f"{_ASKED}what_needs_approval_is_called_only_when_it_is_allowed"),
    Guard("what is not allowed is not called", _RUN, '!= "allow":', '== "nothing":',
          f"{_ASKED}what_is_denied_is_not_called_and_the_model_knows"),
    Guard("a tool that breaks off is in doubt", _RUN, 'if tool.effect == "side_effecting":\n                await',
          "if False:\n                await",
          f"{_TOOLS}a_tool_that_breaks_off_in_its_own_process_asks_as_well"),
    Guard("only its user answers", _SQL,
          "   where id = p_id and tenant_id = p_tenant and user_id = p_user and conversation_id = p_conversation;",
          "   where id = p_id;",
          f"{_ASKED}nobody_answers_for_somebody_else"),
    Guard("the first answer counts", _SQL, "   where id = p_id and answer is null;", "   where id = p_id;",
          f"{_ASKED}the_first_answer_counts_whoever_repeats_or_contradicts_it"),
    Guard("a question is answered by one of its choices", _SQL,
          "if (p_answer in ('allow', 'deny')) <> (w.about = 0) then", "if false then",
          f"{_ASKED}an_answer_that_is_none_of_the_choices_is_refused_with_them"),
    Guard("stopping withdraws a question", _SQL,
          " where task_id = p_task and answer is null;\n", " where false;\n",
          f"{_ASKED}stopping_a_turn_withdraws_its_question"),
    Guard("a question expires", _SQL,
          "where answer is null and expires_at < clock_timestamp() order by", "where false order by",
          f"{_ASKED}a_question_nobody_answers_expires_visibly"),
    Guard("the next message waits behind a question", _SQL,
          "                                and (state in ('queued', 'running') or waits_for = 'person'))\n",
          "                                and state in ('queued', 'running'))\n",
          f"{_ASKED}a_message_taken_back_wakes_nobody_behind_a_question"),
    Guard("only allowed hosts are fetched", _FETCH, "if not any(fnmatchcase(host, pattern) for pattern in allowed):",
          "if False:", f"{_WEB}a_redirect_to_a_host_that_is_not_allowed_is_not_followed"),
    Guard("private networks are left alone", _FETCH, "if inside and not private:", "if False:",
          f"{_WEB}private_networks_are_left_alone"),
    Guard("the address that was checked is the one asked", _FETCH,
          'netloc=f"{literal}:{parts.port}" if parts.port else literal', "netloc=parts.netloc",
          f"{_WEB}a_name_is_looked_up_once_and_that_address_is_asked"),
]  # fmt: skip
