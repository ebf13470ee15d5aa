"""Guards of the index of memories: rows decide, a writer that slept never wins, and a person finds only her own."""

from tests.mutations.guard import Guard

_LUA, _CORE = "appliance/core/lua", "appliance/core/memory"
_SEARCH, _INDEXING = f"{_CORE}/search.py", "agent_image/runner/memory/indexing.py"
_SQL = "appliance/core/sql/queries/memory_index.sql"
_KEPT = "tests/integration/test_memory_index.py::test_"
_ANEW = "tests/integration/test_memory_reindex.py::test_"
_FOUND = "tests/integration/test_memory_search.py::test_"

MEMORY_INDEX = [
    Guard("an older document never wins", f"{_LUA}/index_memories.lua",
          "  if there ~= version then return there > version end\n", "",
          f"{_KEPT}an_older_version_never_wins"),
    Guard("a document keeps its vector", f"{_LUA}/index_memories.lua",
          "  return not has_vector and redis.call('HEXISTS', document, 'embedding') == 1\n", "  return false\n",
          f"{_KEPT}a_writer_without_a_vector_does_not_take_it_away"),
    Guard("what was erased is not written again", f"{_LUA}/index_memories.lua",
          "  if redis.call('EXISTS', gone) == 1 then return true end\n", "",
          f"{_KEPT}a_writer_that_slept_brings_nothing_erased_back"),
    Guard("what is erased leaves Redis at once", "agent_image/runner/memory/memories.py",
          "        await self._documents.erase(list(erased))\n", "",
          f"{_KEPT}what_is_erased_leaves_redis_at_once_whoever_leads"),
    Guard("an index takes no vector of other dimensions", f"{_CORE}/schema.py",
          "    if vector is not None and dimensions(vector) != dims:\n", "    if False:\n",
          f"{_KEPT}a_vector_of_other_dimensions_is_refused_instead_of_never_found"),
    Guard("a wish makes indexes of memories only", f"{_CORE}/upkeep.py",
          "return read is not None and dims == str(read.dims) and read.dims <= MAX_DIMENSIONS", "return dims != '0'",
          f"{_KEPT}a_runner_makes_and_drops_no_index_and_a_wish_makes_ours_only"),
    Guard("a runner makes no index", "appliance/core/acl.py", "ft.search ft.info ft.aliasupdate",
          "ft.search ft.info ft.aliasupdate ft.create",
          f"{_KEPT}a_runner_makes_and_drops_no_index_and_a_wish_makes_ours_only"),
    Guard("what holds no more is not shown", _SQL,
          "and id = any(%(ids)s::uuid[]) and valid_to is null;\n\n-- name: memories_with_words",
          "and id = any(%(ids)s::uuid[]);\n\n-- name: memories_with_words",
          f"{_FOUND}what_holds_no_more_is_not_shown_though_its_document_lingers"),
    Guard("a search stays with its person", f"{_CORE}/index.py", ' & (Tag("user_id") == whose.user)', "",
          f"{_FOUND}the_index_itself_ranks_only_ones_own"),
    Guard("a search stays with its tenant", f"{_CORE}/index.py", '(Tag("tenant") == whose.tenant) & ', "",
          f"{_FOUND}the_index_itself_ranks_only_ones_own"),
    Guard("no empty tag searches everybody", f"{_CORE}/index.py",
          "    if not (whose.tenant and whose.user):\n", "    if False:\n",
          f"{_KEPT}a_wrong_search_is_an_error_of_ours_and_no_missing_index"),
    Guard("a search that lost its index looks it up again", _SEARCH,
          "for known in (True, False):", "for known in (True,):",
          f"{_ANEW}who_still_knows_the_old_index_asks_again_within_the_same_search"),
    Guard("an index without its vectors replaces none", _INDEXING,
          "        if searched not in (None, target) and not whole:\n            return LOOK_S\n", "",
          f"{_ANEW}a_new_model_that_is_away_leaves_the_old_index_in_force"),
    Guard("a vector does not meet an erasure", "appliance/core/sql/queries/memories.sql",
          " order by id for key share),\nput as (", "),\nput as (",
          f"{_KEPT}a_vector_that_comes_while_its_memory_is_erased_is_no_failure"),
    Guard("missing vectors are the primary's business", _INDEXING,
          "            done = [memory for memory in done if memory.id not in bare]\n", "            pass\n",
          f"{_KEPT}who_writes_indexes_at_once_and_leaves_missing_vectors_to_the_primary"),
    Guard("every word of a question is scored", f"{_CORE}/index.py",
          "' '.join('~' + it for it in said)", "'~' + said[0]",
          f"{_FOUND}all_words_count_and_those_most_that_few_memories_have"),
    Guard("what left the index counts no more", "appliance/embedded/redis.py",
          '_SEARCH_OPTIONS if it.name == "redisearch.so" else ""', '""',
          f"{_FOUND}all_words_count_and_those_most_that_few_memories_have"),
]  # fmt: skip
