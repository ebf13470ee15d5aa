"""Guards of memory in use: quoted as data, decided once, never waited for, gone when it was erased."""

from tests.mutations.guard import Guard

_RECALL, _QUOTING = "agent_image/runner/memory/recall.py", "agent_image/runner/memory/quoting.py"
_ROWS = "tests/integration/test_memory_recall.py::test_"
_QUOTED = "tests/unit/test_memory_quoting.py::test_"
_RUN = "tests/integration/test_memory_turns.py::test_"

RECALL = [
    Guard("no memory holds what ends its quotation", _QUOTING, "seen.translate(_REPLACED)", "seen",
          f"{_QUOTED}a_text_can_neither_end_the_quotation_nor_add_a_line"),
    Guard("a memory is one line", _QUOTING, '" ".join(seen.translate(_REPLACED).split())', "seen.translate(_REPLACED)",
          f"{_QUOTED}a_text_can_neither_end_the_quotation_nor_add_a_line"),
    Guard("only what can be trusted is told", _RECALL, "it.living and it.trust in TRUSTED", "it.living",
          f"{_QUOTED}only_what_is_near_holds_and_can_be_trusted_is_quoted"),
    Guard("what holds no more is not told", _RECALL, "it.living and it.trust in TRUSTED", "it.trust in TRUSTED",
          f"{_QUOTED}only_what_is_near_holds_and_can_be_trusted_is_quoted"),
    Guard("what was erased is told no more", _RECALL, "for it in ids if it in rows)", "for it in ids)",
          f"{_ROWS}what_was_erased_between_two_attempts_is_told_no_more"),
    Guard("the first attempt decides", _RECALL, "await self._again(turn, step) if step.done else", "",
          f"{_ROWS}a_later_attempt_is_told_the_same_whatever_is_found_by_then"),
    Guard("who was overtaken decides nothing", _RECALL,
          "            raise StaleAttempt(turn=turn.id, attempt=turn.attempt)\n", "            pass\n",
          f"{_ROWS}an_attempt_that_is_overtaken_while_it_searches_decides_nothing"),
    Guard("no turn waits for memory", "agent_image/runner/memory/patience.py", "asyncio.wait([task], timeout=seconds)",
          "asyncio.wait([task])", f"{_ROWS}a_search_that_takes_too_long_is_not_waited_for_and_not_cut_off"),
    Guard("no turn fails for memory", _RECALL, "except Exception as error:", "except ZeroDivisionError as error:",
          f"{_ROWS}a_search_that_fails_fails_no_turn"),
    Guard("answers keep no texts of memories", _RECALL, '{"id": it.id, "no": it.no}', '{"id": it.id, "no": it.text}',
          f"{_QUOTED}an_answer_keeps_numbers_and_no_texts"),
    Guard("memories never stand in a system message", "agent_image/runner/turns/prompt.py",
          'ChatMessage("user", f"{recalled}', 'ChatMessage("system", f"{recalled}',
          "tests/unit/test_prompt.py::test_what_is_remembered_stands_quoted_in_the_users_message_and_nowhere_else"),
    Guard("a command is not read for memories", "agent_image/runner/memory/extraction.py",
          "    if message.lstrip().startswith(\"/\"):\n", "    if False:\n",
          f"{_RUN}a_command_is_no_conversation_to_learn_from"),
]  # fmt: skip
