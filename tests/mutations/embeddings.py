"""Guards of texts as vectors: nothing but vectors is taken, nothing is kept that shall be forgotten."""

from tests.mutations.guard import Guard

_CORE = "appliance/core/embeddings/"
_CLIENT, _CACHE, _SERVER = f"{_CORE}client.py", f"{_CORE}cache.py", "appliance/embedded/embedder_server.py"
_ASKED = "tests/integration/test_embeddings.py::test_"
_KEPT = "tests/integration/test_embedding_cache.py::test_"
_SERVED = "tests/unit/test_embedder_server.py::test_"

EMBEDDINGS = [
    Guard("numbers without a direction are no vector", "appliance/core/vectors.py",
          "if not length or not math.isfinite(length):", "if False:",
          "tests/unit/test_embeddings.py::test_numbers_without_a_direction_are_no_vector"),
    Guard("vectors are put in the order of their texts", _CLIENT,
          "key=lambda item: item.index)", "key=lambda item: 0)",
          f"{_ASKED}vectors_come_in_the_order_of_the_texts_whatever_order_the_server_likes"),
    Guard("each text has its own vector", _CLIENT,
          "if [item.index for item in found] != list(range(len(texts))):", "if len(found) != len(texts):",
          f"{_ASKED}an_answer_that_is_none_is_an_embedder_away"),
    Guard("vectors of two sizes are not taken", _CLIENT, "if len(sizes) != 1:", "if False:",
          f"{_ASKED}other_dimensions_than_before_are_not_taken"),
    Guard("an answer without an end is not read", _CLIENT, "if size > ANSWER_BYTES:", "if False:",
          f"{_ASKED}an_answer_without_an_end_is_cut_off"),
    Guard("a text is cut to what the model reads", _CLIENT, "plain = text[: self._chars].", "plain = text.",
          f"{_ASKED}a_megabyte_is_cut_to_what_the_model_reads"),
    Guard("questions are forgotten as well as passages", _CLIENT,
          "if text.strip() for query in (True, False)]", "if text.strip() for query in (False,)]",
          f"{_KEPT}forgetting_reaches_questions_and_passages_here_and_in_redis"),
    Guard("kept vectors of another model are not mixed in", _CLIENT,
          "if digest not in known or len(known[digest]) != fits]", "if digest not in known]",
          f"{_KEPT}vectors_of_another_model_under_the_same_name_are_not_mixed_in"),
    Guard("what is at hand ends by itself", _CACHE, "        if until > monotonic():\n", "        if it is not None:\n",
          f"{_KEPT}what_another_process_has_at_hand_it_forgets_by_itself"),
    Guard("what is in Redis ends by itself", _CACHE, ", it, ex=self._ttl_s)", ", it)",
          f"{_KEPT}what_is_kept_has_an_end_and_tells_no_word"),
    Guard("rubbish in Redis is no vector", _CACHE, "if it and _is_vector(it)}", "if it}",
          f"{_KEPT}rubbish_in_redis_is_asked_for_anew"),
    Guard("a question overtakes a batch", _SERVER, "self._waiting.put((not is_query, ", "self._waiting.put((False, ",
          f"{_SERVED}questions_overtake_what_waits"),
    Guard("nothing is done for who hung up", _SERVER, "            if self._hung_up():\n", "            if False:\n",
          f"{_SERVED}nothing_more_is_done_for_who_hung_up"),
    Guard("only so many texts wait", _SERVER, "if self.waiting >= MOST_WAITING:", "if False:",
          f"{_SERVED}too_many_at_once_are_told_to_come_again"),
]  # fmt: skip
