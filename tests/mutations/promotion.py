"""Guards of what becomes a memory: told apart, in order, from whom, each range once."""

from tests.mutations.guard import Guard

_RULES = "appliance/core/memory/deduplication.py"
_QUERIES = "appliance/core/sql/queries/memories.sql"
_REMEMBERING, _EXTRACTION = "agent_image/runner/memory/remembering.py", "agent_image/runner/memory/extraction.py"
_EXTRACTING = "agent_image/runner/memory/extracting.py"
_TOLD, _READ = "tests/unit/test_deduplication.py::test_", "tests/unit/test_extraction.py::test_"
_KEPT, _ONCE = "tests/integration/test_remembering.py::test_", "tests/integration/test_promotion.py::test_"
_MODEL = "tests/unit/test_extracting.py::test_"

PROMOTION = [
    Guard("the same of another person is another memory", _RULES, "for rule in (_status, _about_others, ",
          "for rule in (_status, ", f"{_TOLD}a_pair_is_told"),
    Guard("who does it to whom is no matter of words", _RULES, "_alternatives, _order, _polarity",
          "_alternatives, _polarity", f"{_TOLD}a_pair_is_told"),
    Guard("a denial is not the same", _RULES, "_order, _polarity, _contained", "_order, _contained",
          f"{_TOLD}a_pair_is_told"),
    Guard("who is trusted less closes nothing", _RULES, " and _rank(item) <= _rank(memory)", "",
          f"{_TOLD}who_is_trusted_less_closes_nothing"),
    Guard("what was said before does not replace what was said later", _RULES,
          "return item.valid_from is not None and item.valid_from < memory.valid_from", "return False",
          f"{_TOLD}what_was_said_before_is_overtaken"),
    Guard("a room's number is its name", "appliance/core/memory/claims.py",
          "return _together(_labelled(said, words), words)", "return _together(said, words)", f"{_TOLD}a_pair_is_told"),
    Guard("items kept together know each other", _REMEMBERING, "near += among.near(it) if related else []",
          "near += []", f"{_KEPT}items_of_one_batch_know_each_other"),
    Guard("what was erased stops no other item", _REMEMBERING, "                related = False\n", "",
          f"{_KEPT}what_was_erased_does_not_come_back_nor_stops_its_neighbours"),
    Guard("what is refused leaves the cache", _REMEMBERING, ' or kept.settled[it.at].what == "refused"', "",
          f"{_KEPT}a_text_that_is_refused_or_was_read_already_leaves_the_cache"),
    Guard("what was read already leaves the cache", _REMEMBERING, "kept.before or kept.settled[it.at].what",
          "not kept.before and kept.settled[it.at].what",
          f"{_KEPT}a_text_that_is_refused_or_was_read_already_leaves_the_cache"),
    Guard("a decision that others overtook is made again", _REMEMBERING, "            if kept is not None:\n",
          "            if True:\n", f"{_KEPT}one_item_from_twenty_agents_at_the_same_moment_is_one_memory"),
    Guard("the embedder may be away", _REMEMBERING, "        if it.vector is None:\n", "        if False:\n",
          "tests/integration/test_remembering_without_vectors.py::"
          "test_without_an_embedder_rules_still_find_the_same_and_the_opposite"),
    Guard("a text is checked before it is kept", _REMEMBERING, "        checked_text(item.text)\n", "",
          f"{_KEPT}a_text_that_is_none_is_refused_in_a_sentence"),
    Guard("a range is one task", "appliance/core/memory/promotions.py",
          'return f"promote:{self.conversation}:{self.from_turn}"', 'return f"promote:{id(self)}"',
          f"{_ONCE}a_range_is_published_once_however_many_primaries_see_it_due"),
    Guard("turns behind one that has not ended wait", _QUERIES,
          "coalesce(min(t.turn_no) filter (where t.state in ('queued', 'running', 'waiting')) - 1, max(t.turn_no))",
          "max(t.turn_no)", f"{_ONCE}turns_behind_one_that_has_not_ended_wait"),
    Guard("a task reads its own person's conversation", _QUERIES,
          " and c.tenant_id = %(tenant)s and c.user_id = %(user)s and c.deleted_at is null\n order by m.turn_no",
          " and c.deleted_at is null\n order by m.turn_no", f"{_ONCE}a_task_reads_no_other_persons_conversation"),
    Guard("who has too much waiting holds up nobody else", "agent_image/runner/memory/promotion.py",
          "                continue\n", "                break\n",
          f"{_ONCE}who_has_too_much_waiting_holds_up_nobody_else"),
    Guard("a message is read up to where it gives orders", _EXTRACTION,
          'return plain[: order.start()] if trust == "user" else ""', "return plain",
          f"{_READ}a_message_is_read_up_to_where_it_gives_orders"),
    Guard("quotations are not the person's", _EXTRACTION, '_QUOTED.sub(" ", _CODE.sub("\\n", message[:MOST_CHARS]))',
          '_CODE.sub("\\n", message[:MOST_CHARS])', f"{_READ}what_does_not_hold_or_is_not_told_is_left_out"),
    Guard("a command is not read again", _EXTRACTION, '    if message.lstrip().startswith("/"):\n', "    if False:\n",
          f"{_READ}what_does_not_hold_or_is_not_told_is_left_out"),
    Guard("a page has no preferences", _EXTRACTION, ' or (kind == "preference" and trust == "tool")', "",
          f"{_READ}a_persons_rule_for_answers_is_a_preference_and_a_pages_is_nothing"),
    Guard("a model quotes", _EXTRACTING, "if not quote or quote not in stands:", "if not quote:",
          f"{_MODEL}a_model_is_told_once_what_was_wrong"),
    Guard("an order is no item even when it is quoted", _EXTRACTING, 'if not instructs(quote, "user"):', "if True:",
          f"{_MODEL}an_order_is_no_item_even_when_it_is_quoted"),
    Guard("a weak model is not believed", _EXTRACTING, "if isinstance(part, Route) and self._weak(part.model):",
          "if False:", f"{_MODEL}what_a_weak_model_says_instead_of_another_is_not_taken"),
]  # fmt: skip
