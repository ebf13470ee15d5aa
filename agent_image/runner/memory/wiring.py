"""Puts together what a runner needs for memories: to keep, index and find them, to use them, to read for them."""

from collections.abc import Callable

from agent_image.runner.llm import Router
from agent_image.runner.memory import promotion
from agent_image.runner.memory.commands import MemoryCommands
from agent_image.runner.memory.extracting import Extracting, ModelJudge, ModelReader
from agent_image.runner.memory.indexing import Indexing
from agent_image.runner.memory.memories import MemoryService
from agent_image.runner.memory.promotion import Promoter, Promoting
from agent_image.runner.memory.recall import Bounds, Recall
from agent_image.runner.memory.remembering import Remembering, radii_of
from agent_image.runner.memory.tools import searcher, storer
from agent_image.runner.tasks import kinds
from agent_image.runner.tasks.board import Board
from agent_image.runner.tools import Tool
from appliance.core import logs
from appliance.core.embeddings import HttpEmbedder, related_of
from appliance.core.memory.index import MemoryIndex, load_redisvl
from appliance.core.memory.indexed import IndexedRows
from appliance.core.memory.promotions import Promotions
from appliance.core.memory.search import MemorySearch
from appliance.core.memory.store import MemoryStore
from appliance.core.postgres import Postgres
from appliance.core.redis import Redis
from appliance.core.settings import Settings
from appliance.core.task_ledger import TaskLedger

log = logs.get("memory")


class Memories:
    """One runner's share; tasks of promotion are run by every runner."""

    def __init__(
        self, config: Settings, redis: Redis, postgres: Postgres, router: Router, board: Board,
        leads: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._config, self._redis = config, redis
        self._others: dict[str, HttpEmbedder] = {}
        self._embedder = HttpEmbedder(config, redis)
        index, store = MemoryIndex(redis), MemoryStore(postgres)
        self.indexing = Indexing(index, IndexedRows(postgres), self._embedder, leads)
        reader = ModelReader(router, config.memory_extraction)
        remembering = Remembering(store, self._embedder, radii_of(config), ModelJudge(reader))
        promotions = Promotions(postgres, delay_s=config.cluster_memory_promotion_delay)
        self.promoter = Promoter(promotions, board)
        handler = Promoting(promotions, remembering, Extracting(reader), config.cluster_agent_id)
        kinds.provide(promotion.KIND, handler)
        self._search = MemorySearch(index, postgres, self._embedder, self._asks_for)
        self.service = MemoryService(store, remembering, self._search, self.indexing)
        self.commands = MemoryCommands(self.service, config.cluster_agent_id)

    def _asks_for(self, model: str) -> HttpEmbedder:
        """Return who asks the same server for another model, while the index is still that model's."""
        if model not in self._others:
            settings = self._config.model_copy(update={"embedding_model": model, "embedding_prefixes": "auto"})
            self._others[model] = HttpEmbedder(settings, self._redis)
        return self._others[model]

    def recall(self, ledger: TaskLedger, boot: str) -> Recall:
        """Return what tells turns; nothing while there is no embedding server to find it with."""
        config = self._config
        tokens = config.cluster_memory_recall_tokens if config.embedding_url else 0
        farthest = related_of(config.embedding_model, config.cluster_memory_recall_distance)
        bounds = Bounds(tokens, farthest, config.cluster_memory_recall_within)
        return Recall(self._search, self.service.store, ledger, boot, bounds)

    def tools(self) -> list[Tool]:
        """Return the tools of models."""
        return [searcher(self.service), storer(self.service, self._config.cluster_agent_id)]

    async def run(self) -> None:
        """Keep the index until cancelled; a first turn that had to import the search would not wait for it."""
        if self._config.embedding_url:
            try:
                await load_redisvl()
            except Exception as error:  # whatever is wrong with memory, everything else goes on
                log.warning("search_not_loaded", error=repr(error))
        await self.indexing.run()

    async def aclose(self) -> None:
        """Close what it opened."""
        for embedder in (self._embedder, *self._others.values()):
            await embedder.aclose()
