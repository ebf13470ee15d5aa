"""How memories are put into words for their person: Markdown, as the chat shows it. Pure."""

from collections.abc import Sequence
from typing import Literal

from agent_image.runner.commands.names import CORRECT, ERASE, MEMORIES, REMEMBER
from appliance.core.memory.items import Memory, Origin, Trust

LISTED = 50
"""Memories one answer lists."""
EXAMPLE = f"`{REMEMBER} I prefer short answers`"
NOTHING = f"Nothing is remembered of you. Tell me something: {EXAMPLE}"
ASK_TWICE = (
    "This erases everything that is remembered of you, for good: say `/erase all yes` to do it, "
    f"or look at it first: `{MEMORIES}`."
)
ALL_ERASED = "Nothing is remembered of you any more. What was erased is not learned again from old conversations."
MORE = f"These are the newest {LISTED}; `{MEMORIES} WORDS` finds others."
_MARKUP = str.maketrans({it: f"\\{it}" for it in "\\`*_[]<>#|~!"})


def kept(memory: Memory, *, new: bool) -> str:
    """Return the answer to `/remember`: its number, and how to be rid of it."""
    said = f"Remembered as memory {memory.no} ({memory.type})." if new else f"That is memory {memory.no} already."
    return f"{said}\n\n`{CORRECT} {memory.no} …` changes it, `{ERASE} {memory.no}` erases it."


def listed(memories: Sequence[Memory], query: str = "", note: str = "") -> str:
    """Return the answer to `/memories`: the newest LISTED, or what fits a query, and what the search did without."""
    if not memories:
        return f"Nothing that is remembered of you fits “{plain(query)}”; `{MEMORIES}` lists all." if query else NOTHING
    note = MORE if not query and len(memories) == LISTED else note
    return "\n".join(map(entry, memories)) + (f"\n\n{note}" if note else "")


def entry(memory: Memory) -> str:
    """Return one line of a list."""
    pinned = ", pinned" if memory.pinned else ""
    return f"- **{memory.no}** {plain(memory.text)} ({memory.type}{pinned}; {source(memory)})"


def source(memory: Memory) -> str:
    """Return where a memory comes from, with a link to the message if there is one."""
    link = link_of(memory)
    more = f", said {memory.sources} times" if memory.sources > 1 else ""
    return (f"[{said(memory)}]({link})" if link else said(memory)) + more


def said(memory: Memory) -> str:
    """Return where a memory comes from, and when."""
    return f"{SAID[memory.origin.source]}, {memory.created_at:%Y-%m-%d}"


def link_of(memory: Memory) -> str:
    """Return the address of the message that a memory comes from; '' when it comes from none."""
    return link_to(memory.origin)


def link_to(origin: Origin) -> str:
    """Return the address of a message; '' when it is none."""
    if origin.conversation_id is None:
        return ""
    return f"/c/{origin.conversation_id}" + (f"#n{origin.turn_no}" if origin.turn_no else "")


def corrected(old: int, memory: Memory) -> str:
    """Return the answer to `/correct`."""
    return f"Memory {old} is corrected: it is memory {memory.no} now. `{ERASE} {memory.no}` erases both."


def erased(no: int) -> str:
    """Return the answer to `/erase`; it does not repeat the text."""
    return f"Memory {no} is erased, with all it grew from. It is not learned again from old conversations."


def plain(text: str) -> str:
    """Return a text in one line that Markdown shows as it is."""
    return " ".join(text.split()).translate(_MARKUP)


Said = Literal["message", "command", "tool", "page"]
SAID: dict[Said, str] = {
    "message": "from a conversation", "command": "you asked for it", "tool": "kept by an agent", "page": "from a page",
}  # fmt: skip
TRUST: dict[Trust, str] = {"user": "your own words", "agent": "an agent's words", "tool": "from a tool or a web page"}
