"""Which type a text is that a person wants remembered without naming one. Pure: rules, the first that fits."""

import re

from appliance.core.memory.items import Kind

_RULES: tuple[tuple[Kind, str], ...] = (
    ("goal", r"\b(my|our) goal\b|\b(i|we) (want|plan|intend|aim|hope) to\b|\b(i am|i'm|we are|we're) trying to\b"),
    ("preference", r"\b(i|we) (\w+ )?(prefer|like|love|hate|dislike)\b|\bfavou?rite\b|\brather than\b"),
    ("preference", r"\b(always|never|please) (answer|write|use|call)\b|\b(answers?|replies) (should|must)\b"),
    ("pattern", r"\b(usually|often|mostly|tend to|every (day|morning|evening|week|month)|each (day|week))\b"),
    ("project", r"\b(project|repository|codebase|product)\b|\b(i am|i'm|we are|we're) (building|working on|writing)\b"),
)


def guessed(text: str) -> Kind:
    """Return the type of a text; a fact when nothing says otherwise."""
    plain = text.casefold().replace("\u2019", "'")
    return next((kind for kind, words in _RULES if re.search(words, plain)), "fact")
