"""Puts together what a runner needs to keep memories and to read conversations for them."""

from agent_image.runner.llm import Router
from agent_image.runner.memory import promotion
from agent_image.runner.memory.extracting import Extracting, ModelJudge, ModelReader
from agent_image.runner.memory.promotion import Promoter, Promoting
from agent_image.runner.memory.remembering import Remembering, radii_of
from agent_image.runner.tasks import kinds
from agent_image.runner.tasks.board import Board
from appliance.core.embeddings import HttpEmbedder
from appliance.core.memory.promotions import Promotions
from appliance.core.memory.store import MemoryStore
from appliance.core.postgres import Postgres
from appliance.core.redis import Redis
from appliance.core.settings import Settings


class Memories:
    """The way in, and what the primary does; tasks of promotion are run by every runner."""

    def __init__(self, config: Settings, redis: Redis, postgres: Postgres, router: Router, board: Board) -> None:
        reader = ModelReader(router, config.memory_extraction)
        self._embedder = HttpEmbedder(config, redis)
        store = MemoryStore(postgres)
        self.remembering = Remembering(store, self._embedder, radii_of(config), ModelJudge(reader))
        promotions = Promotions(postgres, delay_s=config.cluster_memory_promotion_delay)
        self.promoter = Promoter(promotions, board)
        handler = Promoting(promotions, self.remembering, Extracting(reader), config.cluster_agent_id)
        kinds.provide(promotion.KIND, handler)

    async def aclose(self) -> None:
        """Close what it opened."""
        await self._embedder.aclose()
