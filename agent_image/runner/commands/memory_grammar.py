"""The grammar of the commands about memories. Pure: a message in, what is wanted or a clear refusal out.

/remember TEXT
/memories [QUERY]
/erase NUMBER
/erase all [yes]
/correct NUMBER TEXT
"""

import re

import msgspec

from agent_image.runner.commands.names import CORRECT, ERASE, MEMORIES
from appliance.core.errors import BadInput
from appliance.core.memory.items import checked_text

_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)


class Remember(msgspec.Struct, frozen=True):
    """Wants this remembered."""

    text: str


class Memories(msgspec.Struct, frozen=True):
    """Wants to see what is remembered; with a query only what fits it."""

    query: str = ""


class Erase(msgspec.Struct, frozen=True):
    """Wants the one of this number erased."""

    no: int


class EraseAll(msgspec.Struct, frozen=True):
    """Wants everything erased; only if `sure` it is."""

    sure: bool = False


class Correct(msgspec.Struct, frozen=True):
    """Wants the one of this number to say something else."""

    no: int
    text: str


OfMemory = Remember | Memories | Erase | EraseAll | Correct


def parse_memory(name: str, rest: str) -> OfMemory | None:
    """Return what a command about memories wants: its name, and what stands behind it.

    Raises:
        BadInput: it cannot be; the sentence says why and shows one that can.
    """
    match name:
        case "/remember":
            return Remember(checked_text(rest))
        case "/memories":
            return Memories(rest)
        case "/erase":
            return _erase(rest.lower().split())
        case "/correct":
            return _correct(rest.split(maxsplit=1))
    return None


def _correct(parts: list[str]) -> Correct:
    match parts:
        case [no, text] if _NUMBER.fullmatch(no):
            return Correct(int(no), checked_text(text))
    raise BadInput(
        f"Say which one by its number, and what it is to say: `{CORRECT} 3 I prefer tea`; `{MEMORIES}` lists them."
    )


def _erase(words: list[str]) -> Erase | EraseAll:
    match words:
        case ["all"]:
            return EraseAll()
        case ["all", "yes"]:
            return EraseAll(sure=True)
        case [no] if _NUMBER.fullmatch(no):
            return Erase(int(no))
    raise BadInput(
        f"Say which one by its number: `{ERASE} 3`; `{MEMORIES}` lists them. `{ERASE} all` asks about all of them."
    )
