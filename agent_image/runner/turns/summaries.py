"""The running summary of a long conversation, made after its answer is committed and told (DESIGN 10).

Whoever ran the turn makes it, one at a time, while nobody waits. If that agent dies, or no model answers, nothing is
lost: the messages stay, prompts leave the oldest out, and the next turn's end finds the same work to do.
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

from agent_image.runner.llm import ChatMessage, Chunk, ModelRequest, Route, Router, is_weak
from agent_image.runner.turns.prompt import Window, quoted
from appliance.core import logs
from appliance.core.errors import NexusError
from appliance.core.records import Turn
from appliance.core.window import BYTES_A_TOKEN, Said, fold
from appliance.core.working_memory import Past, Summary, WorkingMemory

log = logs.get("memory")
WAITING = 100
"""Summaries that may wait to be made; what comes above is found again at its conversation's next turn."""
ASK = (
    "Sum up a conversation for whoever goes on with it: what its user wants, prefers and said of himself, what was"
    " found and decided, what is open. Plain sentences, in the language of the conversation, nothing else."
)
_LINE = 160
_PROMPTED = 0.75
"""Of the room that a prompt has; the rest is for its message, tools and memories."""


class Summaries:
    """Folds what grew too long: above the share `at` of the window older messages go into the summary."""

    def __init__(self, memory: WorkingMemory, router: Router, *, window: Window, at: float) -> None:
        self._memory = memory
        self._router = router
        self._limit = limit_of(window, at)
        self._tokens = window.tokens // 8
        """What a summary may have; half of the window is what it is made of."""
        self._input = window.tokens // 2 * BYTES_A_TOKEN
        self._waiting: asyncio.Queue[tuple[Turn, Past]] = asyncio.Queue(WAITING)

    def offer(self, turn: Turn, past: Past) -> None:
        """Look whether what was said up to `turn` grew too long; never waits."""
        if fold(past.messages, self._limit) and not self._waiting.full():
            self._waiting.put_nowait((turn, past))

    async def run(self) -> None:
        """Make what was found, one after the other, for ever."""
        while True:
            turn, past = await self._waiting.get()
            try:
                await self._fold(turn, past)
            except NexusError as error:
                log.warning("summary_failed", conversation=turn.conversation_id, error=str(error))

    async def _fold(self, turn: Turn, past: Past) -> None:
        stands = await self._memory.tell_summary(turn.conversation_id)
        if stands.upto_turn > past.summary.upto_turn:
            return  # another agent made it since this turn began
        upto = fold(past.messages, self._limit)
        folded = [it for it in past.messages if it.turn_no <= upto]
        text, model = await self._text(turn, past.summary.text, folded, upto)
        await self._memory.summarise(turn, Summary(upto, text, model))
        log.info("summarised", conversation=turn.conversation_id, upto_turn=upto, model=model)

    async def _text(self, turn: Turn, earlier: str, folded: Sequence[Said], upto: int) -> tuple[str, str]:
        """Return a summary and who wrote it: '' for the first sentences, where the model is too weak for more."""
        most = self._tokens * BYTES_A_TOKEN
        first = extract(earlier, folded, most), ""
        if is_weak(next((it.name for it in self._router.models()), "")):
            return first
        key = f"{turn.conversation_id}:summary:{upto}"
        request = ModelRequest(asked(earlier, folded, self._input), self._tokens, key, turn.trace_id)
        text, model = "", ""
        async with aclosing(self._router.stream(request)) as parts:
            async for part in parts:
                match part:
                    case Route():
                        model = part.model
                    case Chunk():
                        text += part.text
        text = clipped(text.strip(), most)
        return (text, model) if text and not is_weak(model) else first


def limit_of(window: Window, at: float) -> int:
    """Return how many tokens of messages are left alone: so many that a prompt still has room for all of them."""
    return int(min(window.tokens * at, window.room((), "", "") * _PROMPTED))


def asked(earlier: str, folded: Sequence[Said], most: int) -> tuple[ChatMessage, ...]:
    """Return what a model is asked for a summary, of at most about `most` bytes: long messages give most."""
    share = share_of([len(it.text.encode()) for it in folded], most - len(earlier.encode()))
    said = [f"{it.role}: {clipped(it.text, share)}" for it in folded]
    parts = quoted("The summary so far.", "summary", [earlier] if earlier else [])
    parts += quoted("What was said since.", "said", ["\n\n".join(said)])
    return ChatMessage("system", ASK), ChatMessage("user", "\n\n".join(parts))


def share_of(sizes: Sequence[int], most: int) -> int:
    """Return what each may have so that all together have `most`: what is shorter leaves room to the longer."""
    for number, size in enumerate(sorted(sizes)):
        if size > (share := most // (len(sizes) - number)):
            return max(0, share)
        most -= size
    return max(sizes, default=0)


def extract(earlier: str, folded: Sequence[Said], most: int) -> str:
    """Return the first sentences of what the user said, one a line, the newest of them in at most `most` bytes."""
    lines = [*earlier.split("\n"), *(_first_sentence(it.text) for it in folded if it.role == "user")]
    kept: list[str] = []
    for line in reversed([it for it in lines if it]):
        if len("\n".join([line, *kept]).encode()) > most:
            break
        kept.insert(0, line)
    return "\n".join(kept)


def _first_sentence(text: str) -> str:
    """Return a line for a message: up to its first full stop, question or exclamation mark before a blank."""
    line = " ".join(text.split())
    ends = [at + 1 for mark in ".!?" if (at := f"{line} ".find(f"{mark} ")) >= 0]
    line = line[: min(ends, default=None)]
    return f"- {line[:_LINE]}…" if len(line) > _LINE else f"- {line}" if line else ""


def clipped(text: str, most: int) -> str:
    """Return the beginning of a text, of at most `most` bytes."""
    return text.encode()[: max(0, most)].decode(errors="ignore")
