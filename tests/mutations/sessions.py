"""Guards of what is at hand of a conversation."""

from tests.mutations.guard import Guard

_PATCH, _MEMORY = "appliance/core/lua/patch_session.lua", "appliance/core/working_memory.py"
_SQL, _WINDOW = "appliance/core/sql/queries/sessions.sql", "appliance/core/window.py"
_PROMPT = "agent_image/runner/turns/prompt.py"
_SESSIONS = "tests/integration/test_working_memory.py::test_"
_SUMMARIES = "tests/integration/test_summaries.py::test_"
_FITS, _TOLD = "tests/unit/test_summaries.py::test_", "tests/unit/test_prompt.py::test_"

SESSIONS = [
    Guard("an older writer of a session is refused", _PATCH,
          "    if (theirs[i] or -1) > number then return 0 end\n", "",
          f"{_SESSIONS}an_older_turn_or_attempt_writes_nothing"),
    Guard("a later turn wins, whatever the attempts", _PATCH,
          "    if (theirs[i] or -1) < number then break end\n", "",
          f"{_SESSIONS}a_later_turn_counts_whatever_the_attempts_before_it"),
    Guard("a patch is checked before anything is written", _PATCH,
          "if string.sub(args[i], 1, 1) ~= '$' or not args[i + 1] then", "if false then",
          f"{_SESSIONS}a_patch_that_is_no_patch_writes_nothing"),
    Guard("a patch makes no session of parts", _PATCH,
          "  if not stored and args[4] ~= '$' then return -1 end\n", "",
          f"{_SESSIONS}a_patch_that_is_no_patch_writes_nothing"),
    Guard("a session of an older state is not trusted", _MEMORY,
          "self.answered_turn == turn.turn_no - 1 and", "True and",
          f"{_SESSIONS}a_session_of_an_older_state_is_not_trusted"),
    Guard("a summary that leaves a gap is not trusted", _MEMORY,
          " and self.summary.upto_turn >= self.recent_after", "",
          f"{_SESSIONS}a_summary_that_does_not_reach_the_messages_is_not_trusted"),
    Guard("what is in the summary is not told again", _MEMORY,
          "for it in self.recent_messages if it.turn_no > after", "for it in self.recent_messages",
          f"{_SUMMARIES}a_long_past_is_folded_into_a_summary_that_redis_and_rows_share"),
    Guard("a session that was lost is written whole", _MEMORY,
          'if not await self._write(turn, {f"', 'if await self._write(turn, {f"',
          f"{_SESSIONS}a_session_that_expired_while_its_turn_ran_is_whole_after_it"),
    Guard("an older summary never replaces a newer one", _SQL,
          " where s.upto_turn < excluded.upto_turn;", " where true;",
          f"{_SUMMARIES}an_older_summary_never_replaces_a_newer_one"),
    Guard("a deleted conversation gets no summary", _SQL,
          " where id = %(conversation)s and deleted_at is null\n", " where id = %(conversation)s\n",
          f"{_SUMMARIES}a_deleted_conversation_gets_no_summary"),
    Guard("prompts are bounded by tokens", _WINDOW,
          ") >= 0:", ") is not None:", f"{_FITS}nothing_goes_past_a_message_larger_than_the_window"),
    Guard("what is quoted stays quoted", _PROMPT,
          "{text.replace(f'</{tag}', f'< /{tag}')}", "{text}",
          f"{_TOLD}what_is_quoted_cannot_end_its_quotation"),
]  # fmt: skip
