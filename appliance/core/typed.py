"""Numbers that a person may have typed, and what is wrong with them in a sentence. Pure; for pages, API and commands.

ASCII digits only: what `int` also takes (`1_0`, full-width digits) is more often a slip than a wish.
"""

import re

from appliance.core.errors import BadInput

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?")
_SHOWN = 40


def whole(typed: float | str, *, means: str) -> int:
    """Return a whole number; `means` ends the sentence that asks for one.

    Raises:
        BadInput: it is none.
    """
    text = str(typed).strip()
    if not _WHOLE.fullmatch(text):
        raise BadInput(f"{text[:_SHOWN]!r} is not a whole number: {means}.")
    return int(text)


def seconds(typed: float | str, *, least: float, most: float, means: str) -> float:
    """Return a number of seconds between `least` and `most`; `means` begins the sentence about them.

    Raises:
        BadInput: it is no number, or not one of those.
    """
    text, bounds = str(typed).strip(), f"{means} {least:g} to {most:g} seconds"
    if not _DECIMAL.fullmatch(text):
        raise BadInput(f"{text[:_SHOWN]!r} is not a number of seconds: {bounds}.")
    if not least <= float(text) <= most:
        raise BadInput(f"{text[:_SHOWN]} seconds cannot be: {bounds}.")
    return float(text)
