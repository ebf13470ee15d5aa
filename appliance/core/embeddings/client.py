"""The client of an embedding server: OpenAI's `POST /v1/embeddings`, as Ollama, vLLM and the bundled one speak it.

Texts are cut to what the model reads (`models.longest_of`), sent in batches, each with its own deadline. Nothing is
retried here: whoever can do without a vector for a moment does, and makes it up later.
"""

import asyncio
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Protocol

import httpx2
import msgspec

from appliance.core.embeddings.cache import VectorCache
from appliance.core.embeddings.models import longest_of, prefixes_of
from appliance.core.errors import BadInput, EmbedderAway, EmbedderRefused, NexusError
from appliance.core.metrics import EMBEDDING_REQUESTS, EMBEDDING_SECONDS
from appliance.core.redis import Redis
from appliance.core.settings import Settings
from appliance.core.vectors import Vector, vector

QUERY_S, BATCH_S = 5.0, 30.0
"""So long one request may take, for a question and for a batch of passages."""
PING_S = 1.5
BATCH_TEXTS, BATCH_BYTES = 64, 16_000
"""A request of this size takes the bundled model 8 s on one free processor."""
ANSWER_BYTES = 16_000_000
"""A longer answer is none: 64 vectors of 4096 dimensions as text are a third of it."""
_BUSY = (408, 425, 429)
_SHOWN = 200


class Embedder(Protocol):
    """Turns texts into vectors."""

    model: str

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> list[Vector]:
        """Return one vector for each text, in their order; `query` for what is looked for, not through.

        Raises:
            BadInput: a text is empty. EmbedderAway: there is no usable answer now.
        """


class _Item(msgspec.Struct, frozen=True):
    index: int
    embedding: list[float]


class _Said(msgspec.Struct, frozen=True):
    data: list[_Item]


class HttpEmbedder:
    """An `Embedder` behind HTTP. The same text is asked for once: vectors are kept by the digest of what was sent."""

    def __init__(self, settings: Settings, redis: Redis | None = None) -> None:
        """`redis` keeps vectors for all processes; nothing is connected before the first question."""
        self.model = settings.embedding_model
        self._prefixes = prefixes_of(self.model, settings.embedding_prefixes)
        self._chars = longest_of(self.model)
        self._url = settings.embedding_url
        self._cache = VectorCache(redis, self.model, ttl_s=settings.embedding_cache_ttl)
        self._key = settings.embedding_api_key
        self._bytes = 0

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> list[Vector]:
        """Return vectors; see `Embedder`. EmbedderRefused when asking again would not help."""
        sent = [self._sent(text, query=query) for text in texts]
        by_digest = {_digest(it): it for it in sent}
        known = await self._cache.get(list(by_digest))
        while missing := self._missing(by_digest, known):
            for batch in batches(missing):
                vectors = await self._ask(batch, QUERY_S if query else BATCH_S)
                new = dict(zip(map(_digest, batch), vectors, strict=True))
                await self._cache.put(new)
                known |= new
        return [known[_digest(it)] for it in sent]

    async def ping(self) -> None:
        """Return when the server answers whatever it is asked; EmbedderAway when it does not. Nothing is embedded."""
        try:
            async with asyncio.timeout(PING_S):
                answer = await self._http.get(f"{self._url}/models")
        except (TimeoutError, httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise EmbedderAway(cause=type(error).__name__, url=self._url) from None
        if answer.status_code >= 500:
            raise _refusal(answer.status_code, answer.content, self._url)

    async def forget(self, texts: Sequence[str]) -> None:
        """Remove what is kept of texts, as questions and as passages.

        Raises:
            StoreAway: Redis does not answer; forget once more when it does.
        """
        sent = [self._sent(text, query=query) for text in texts if text.strip() for query in (True, False)]
        await self._cache.forget(list({_digest(it) for it in sent}))

    async def aclose(self) -> None:
        """Close all connections."""
        if "_http" in self.__dict__:
            await self._http.aclose()

    @cached_property
    def _http(self) -> httpx2.AsyncClient:
        """Made when it is needed: reading certificates takes a tenth of a second, and plain HTTP needs none."""
        secret = self._key.get_secret_value()
        headers = {"authorization": f"Bearer {secret}"} if secret else {}
        verify = self._url.startswith("https:")
        return httpx2.AsyncClient(headers=headers, timeout=None, trust_env=False, verify=verify)

    def _missing(self, wanted: Mapping[str, str], known: Mapping[str, Vector]) -> list[str]:
        """Return what has to be asked for: unknown, or kept from another model of the same name."""
        sizes = {len(it) for it in known.values()}
        fits = self._bytes or (sizes.pop() if len(sizes) == 1 else 0)
        return [it for digest, it in wanted.items() if digest not in known or len(known[digest]) != fits]

    def _sent(self, text: str, *, query: bool) -> str:
        """Return what stands for a text in a request: its beginning, behind the model's prefix."""
        # JSON cannot carry halves of surrogate pairs, and to the model's tokenizer NUL ends a text.
        plain = text[: self._chars].replace("\0", " ").encode(errors="replace").decode()
        if not plain.strip():
            raise BadInput("An empty text has no vector: leave it out.")
        return (self._prefixes.query if query else self._prefixes.passage) + plain

    async def _ask(self, texts: list[str], within_s: float) -> list[Vector]:
        """Make one request and count it."""
        began = time.perf_counter()
        outcome = "failed"
        try:
            vectors = self._checked(texts, await self._post(texts, within_s))
            outcome = "done"
        except EmbedderRefused:
            outcome = "refused"
            raise
        finally:
            EMBEDDING_REQUESTS.labels(outcome).inc()
            EMBEDDING_SECONDS.observe(time.perf_counter() - began)
        return vectors

    async def _post(self, texts: list[str], within_s: float) -> bytes:
        if not self._url:
            raise EmbedderRefused("There is no embedding server: set EMBEDDING_URL.")
        body = msgspec.json.encode({"model": self.model, "input": texts, "encoding_format": "float"})
        headers = {"content-type": "application/json"}
        try:
            async with (
                asyncio.timeout(within_s),
                self._http.stream("POST", f"{self._url}/embeddings", content=body, headers=headers) as answer,
            ):
                said = await _whole(answer)
        except TimeoutError:
            raise EmbedderAway(f"The embedding server did not answer within {within_s:g} s.", url=self._url) from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise EmbedderAway(cause=type(error).__name__, url=self._url) from None
        if answer.status_code != 200:
            raise _refusal(answer.status_code, said, self._url)
        return said

    def _checked(self, texts: list[str], said: bytes) -> list[Vector]:
        """Return the vectors of an answer, in the order of `texts`.

        Raises:
            EmbedderAway: it is no answer to these texts, or its dimensions are not those of before.
        """
        try:
            found = sorted(msgspec.json.decode(said, type=_Said).data, key=lambda item: item.index)
            vectors = [vector(item.embedding) for item in found]
        except (msgspec.MsgspecError, ValueError) as error:
            raise EmbedderAway(f"The embedding server answers something else than vectors: {error}") from None
        if [item.index for item in found] != list(range(len(texts))):
            raise EmbedderAway(f"The embedding server answered {len(found)} vectors to {len(texts)} texts.")
        sizes = {len(it) for it in vectors} | ({self._bytes} if self._bytes else set())
        if len(sizes) != 1:
            dims = " and ".join(str(size // 4) for size in sorted(sizes))
            raise EmbedderAway(f"The embedding server answers vectors of {dims} dimensions: has its model changed?")
        self._bytes = sizes.pop()
        return vectors


def batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """Cut texts into requests of at most `BATCH_TEXTS` texts and, unless one alone is longer, `BATCH_BYTES` bytes."""
    batch: list[str] = []
    size = 0
    for text in texts:
        more = len(text.encode())
        if batch and (len(batch) == BATCH_TEXTS or size + more > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += more
    if batch:
        yield batch


def _digest(sent: str) -> str:
    return hashlib.sha256(sent.encode()).hexdigest()


async def _whole(answer: httpx2.Response) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in answer.aiter_bytes():
        parts.append(part)
        size += len(part)
        if size > ANSWER_BYTES:
            raise EmbedderAway(f"The embedding server's answer is longer than {ANSWER_BYTES // 1_000_000} MB.")
    return b"".join(parts)


def _refusal(status: int, said: bytes, url: str) -> NexusError:
    """Return the error for a status: those that may pass, and those that will not."""
    words = said[:_SHOWN].decode(errors="replace").strip()
    if status >= 500 or status in _BUSY:
        return EmbedderAway(f"The embedding server answered {status}: {words}", url=url)
    return EmbedderRefused(f"The embedding server rejects the request with {status}: {words}", url=url)
