"""From what went wrong at a provider to the error a person reads. Pure: no I/O, never a key, never a URL."""

import msgspec

from appliance.core.errors import ModelAway, ModelBroke, ModelBusy, ModelError, ModelRefused, ModelSilent

BUSY = frozenset({429, 503, 529})
UNREACHABLE_BEHIND = frozenset({502, 504})
"""What a proxy answers when the model behind it is gone."""
MODEL_AT_FAULT = frozenset({401, 402, 403, 404})
"""Wrong key, no credit, no such model: another model would serve this request."""
QUOTED_CHARS = 200


def by_status(name: str, status: int, body: bytes, retry_after: str | None, *, secret: str = "") -> ModelError:
    """Return the error for an HTTP answer that is not a success."""
    if status in BUSY:
        return ModelBusy(f"{name} has no capacity at the moment.", retry_after=seconds(retry_after), http=status)
    if status in UNREACHABLE_BEHIND:
        return ModelAway(f"{name} could not be reached by the server in front of it.", http=status)
    if status >= 500:
        return ModelBroke(f"{name} failed with an internal error (HTTP {status}).", http=status)
    return ModelRefused(_refusal(name, status, body, secret), http=status)


def _refusal(name: str, status: int, body: bytes, secret: str) -> str:
    if status in (401, 403):
        return f"{name} does not accept the key it was given (HTTP {status})."
    if status == 404:
        return f"The server of {name} does not have this model (HTTP 404)."
    # Only refusals of the request itself are quoted: what is said about keys may contain them.
    said = quote(body, secret) if status not in MODEL_AT_FAULT else ""
    return f"{name} rejects this message (HTTP {status})" + (f": {said}" if said else ".")


def quote(body: bytes, secret: str = "") -> str:
    """Return what the provider said in an error body, short, on one line and without the key; or nothing."""
    try:
        said = msgspec.json.decode(body)["error"]
        text = said if isinstance(said, str) else said["message"]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return ""
    line = " ".join(str(text).split())
    return (line.replace(secret, "…") if secret else line)[:QUOTED_CHARS]


def seconds(retry_after: str | None) -> float | None:
    """Read a Retry-After header; a date is ignored, since it would be compared with another host's clock."""
    try:
        wait = float(retry_after or "")
    except ValueError:
        return None
    return wait if 0 <= wait < float("inf") else None


def away(name: str) -> ModelAway:
    """Return the error for a server that cannot be connected to."""
    return ModelAway(f"{name} could not be reached.")


def silent(name: str, after_s: float) -> ModelSilent:
    """Return the error for a server that says nothing."""
    return ModelSilent(f"{name} said nothing for {after_s:g} s.")


def broke(name: str) -> ModelBroke:
    """Return the error for a connection or stream that ends too early."""
    return ModelBroke(f"{name} stopped before its answer was complete.")


def in_the_middle(error: ModelError) -> ModelBroke:
    """Return the error for a failure after a part of the answer was shown: it is not repeated elsewhere."""
    return ModelBroke(f"The answer stopped in the middle: {error.detail}", **error.data)


def request_at_fault(error: ModelError) -> bool:
    """Tell whether any model would rightly reject this request.

    A message that is too long or malformed (400, 413, 422) does not fall back: the person can mend it, and sending it
    to a model that costs money, outside the house, is not ours to decide. A wrong key or unknown model does fall back.
    """
    return isinstance(error, ModelRefused) and error.data.get("http") not in MODEL_AT_FAULT
