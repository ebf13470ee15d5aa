"""Which messages are commands. Pure."""

REMIND, EVERY, REMINDERS, FORGET = ("/remind", "/every", "/reminders", "/forget")
REMEMBER, MEMORIES, ERASE, CORRECT = OF_MEMORY = ("/remember", "/memories", "/erase", "/correct")
NAMES = (REMIND, EVERY, REMINDERS, FORGET, *OF_MEMORY)


def name_of(text: str) -> str:
    """Return the command a message begins with; '' when it is none of these."""
    first = text.split(maxsplit=1)[:1]
    return first[0] if first and first[0] in NAMES else ""


def is_command(text: str) -> bool:
    """Whether a message is answered here and not by a model."""
    return name_of(text) != ""
