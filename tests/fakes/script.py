"""What the fake model server does with one message: read from directives in the message itself. No I/O.

A directive is anything in double square brackets, words with or without a value:

    Hello [[tokens=200 delay=20ms first=100ms]]

    tokens=N        answer N words (default 12)            word=X      say X1 X2 … instead of w1 w2 …
    delay=T         wait T between words (20ms, 0.5s)       first=T     wait T before the first byte
    echo            answer the message without directives   endless     never stop, whatever max_tokens says
    status=N        answer this HTTP status                 retry_after=T   with this Retry-After header
    hang            accept and never answer                 hang_after=N    stop sending after N words
    break_after=N   cut the connection after N words        end_after=N     end the answer early but politely
    error_after=N   say an error in the stream after N      garbage_after=N send something unreadable after N
    tool=NAME:JSON  ask for this tool first (no blank in the JSON; at most `rounds` times, default 1), if it is offered
    no_tools        refuse a request that offers tools, as Ollama does for models that know none
    quote           answer with what came of the last tool call
    plan=T          answer T, percent-encoded, when asked to write a plan; replan=T: when asked to write it again
    fail_times=N    the troubles above happen only the first N times this very message is asked
"""

import itertools
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from urllib.parse import unquote

import msgspec

DIRECTIVE = re.compile(r"\[\[(.*?)\]\]")
ENDLESS_DELAY_S = 0.001
"""An endless answer without a delay would eat the core all tests share."""


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """How one call is answered."""

    tokens: int = 12
    delay: float = 0.0
    first: float = 0.0
    word: str = "w"
    echo: bool = False
    endless: bool = False
    status: int = 200
    retry_after: float | None = None
    hang: bool = False
    hang_after: int | None = None
    break_after: int | None = None
    end_after: int | None = None
    error_after: int | None = None
    garbage_after: int | None = None
    fail_times: int | None = None
    tool: str = ""
    rounds: int = 1
    quote: bool = False
    plan: str = ""
    replan: str = ""
    no_tools: bool = False

    def healthy(self) -> "Script":
        """Return this script without its troubles."""
        return Script(
            tokens=self.tokens,
            delay=self.delay,
            first=self.first,
            word=self.word,
            echo=self.echo,
            endless=self.endless,
            tool=self.tool,
            rounds=self.rounds,
            quote=self.quote,
            plan=self.plan,
            replan=self.replan,
        )


def read(message: str, mode: str = "") -> Script:
    """Read the directives of a message; those of the server's mode win.

    Raises:
        ValueError: a directive is misspelt, so that a test fails loudly instead of testing nothing.
    """
    words = " ".join([*DIRECTIVE.findall(message), mode]).split()
    return msgspec.convert(dict(_directive(word) for word in words), Script, strict=False)


def _directive(word: str) -> tuple[str, object]:
    name, _, value = word.partition("=")
    if name not in Script.__struct_fields__:
        raise ValueError(f"the fake model knows no directive {name!r}")
    return name, _seconds(value) if name in ("delay", "first", "retry_after") else value or True


def _seconds(value: str) -> float:
    return float(value[:-2]) / 1000 if value.endswith("ms") else float(value.removesuffix("s"))


def wanted(script: Script, results: Sequence[str], offered: Container[str]) -> tuple[str, str] | None:
    """Return the tool to ask for now, with its arguments, or None."""
    name, _, arguments = script.tool.partition(":")
    return (name, arguments) if name in offered and len(results) < script.rounds else None


def words(script: Script, message: str, results: Sequence[str] = ()) -> Iterator[str]:
    """Yield the pieces of the answer; joined without anything between they are the whole text."""
    said: Iterable[str]
    if plan := _plan(script, message):
        yield from re.findall(r"\s*\S+|\s+", plan)
        return
    if script.quote and results:
        said = results[-1:]
    elif script.echo:
        said = DIRECTIVE.sub("", message).split()
    else:
        numbers = itertools.count(1) if script.endless else range(1, script.tokens + 1)
        said = (f"{script.word}{n}" for n in numbers)
    for n, word in enumerate(said):
        yield f" {word}" if n else word


def _plan(script: Script, message: str) -> str:
    if message.endswith("Write the whole plan again."):
        return unquote(script.replan or script.plan)
    return unquote(script.plan) if message.endswith("Write the plan.") else ""


def expected_text(message: str, max_tokens: int | None = None) -> str:
    """Return the whole answer the fake model gives to `message` when nothing goes wrong."""
    script = read(message)
    if script.endless and max_tokens is None:
        raise ValueError("an endless answer has no whole text")
    return "".join(itertools.islice(words(script, message), max_tokens))
