"""Which models there are to use: an Ollama on its usual port, a key for Claude, or the bundled one."""

import json
import os
import urllib.request
from dataclasses import dataclass

from appliance.embedded.bootstrap.verdict import Line, Mark

USUAL_OLLAMA = "http://127.0.0.1:11434"


@dataclass(frozen=True)
class Models:
    """What was found."""

    ollama_url: str = ""
    ollama_models: tuple[str, ...] = ()
    chosen_url: bool = False
    """Whether OLLAMA_URL or MODEL_URL was set by the user."""
    claude_key: bool = False


def look() -> Models:
    """Ask the usual place; nothing outside this machine is touched unless the user named it."""
    url = os.environ.get("OLLAMA_URL") or USUAL_OLLAMA
    models = _ollama_models(url)
    return Models(
        ollama_url=url if models else "",
        ollama_models=models,
        chosen_url=bool(os.environ.get("OLLAMA_URL") or os.environ.get("MODEL_URL")),
        claude_key=bool(os.environ.get("ANTHROPIC_API_KEY")),
    )


def _ollama_models(url: str) -> tuple[str, ...]:
    """The names of an Ollama's models; empty when none answers there."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{url.rstrip('/')}/api/tags", timeout=0.8) as answer:
            return tuple(str(model["name"]) for model in json.load(answer)["models"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def findings(models: Models) -> list[Line]:
    """The lines of the look about models."""
    lines = []
    if models.ollama_models:
        lines.append(Line(Mark.GOOD, f"Ollama at {models.ollama_url} with {', '.join(models.ollama_models[:3])}: used"))
    elif models.chosen_url:
        lines.append(Line(Mark.NOTE, "the model server you named is used; the bundled model stands in for it"))
    else:
        key = "" if models.claude_key else ", no API key"
        lines.append(Line(Mark.GOOD, f"no Ollama on :11434{key}: bundled SmolLM2-135M"))
    if models.claude_key:
        lines.append(Line(Mark.NOTE, "ANTHROPIC_API_KEY is set: Claude is used only after a yes, since it costs money"))
    return lines
