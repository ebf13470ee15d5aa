"""Whole page or one block of it: decided here, never in a handler."""

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from litestar import Request
from litestar.response import Response

ROOT = Path(__file__).parent
STATIC = ROOT / "static"
_ENVIRONMENT = "nexus_templates"
SAMPLES = 60
"""Values that a small line shows."""


def environment(folders: Sequence[Path]) -> Environment:
    """Make the template environment of one program: its own folders, then the base."""
    made = Environment(
        loader=FileSystemLoader([*folders, ROOT / "templates"]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["static"] = static_url
    made.filters |= {
        "ms": milliseconds, "span": span, "size": size, "spark": spark, "count": "{:,}".format,
        "after": after, "json": readable, "plain_json": plain_json}  # fmt: skip
    return made


def page(
    request: Request[Any, Any, Any],
    name: str,
    /,
    *,
    block: str | None = None,
    status: int | None = None,
    **context: Any,
) -> Response[str]:
    """Render a template, or one block of it; with another status than the handler's own when one is given."""
    return Response(render(request, name, block, **context), media_type="text/html", status_code=status)


def render(request: Request[Any, Any, Any], name: str, block: str | None = None, /, **context: Any) -> str:
    """Return the HTML of a template or of one of its blocks."""
    environment: Environment = request.app.state[_ENVIRONMENT]
    template = environment.get_template(name)
    values = {"request": request, "user": request.scope.get("user"), "csrf": _csrf(request), **context}
    return template.render(values) if block is None else _block(template, block, values)


def _csrf(request: Request[Any, Any, Any]) -> str:
    return str(request.app.state["protection"].token(request.scope.get("auth")))


def _block(template: Template, block: str, values: dict[str, Any]) -> str:
    context = template.new_context(values)
    return "".join(template.blocks[block](context))


def block_renderer(request: Request[Any, Any, Any], name: str, block: str) -> Callable[..., str]:
    """Return a function that renders one block again and again, as live pages do."""
    return lambda **context: render(request, name, block, **context)


@cache
def static_url(name: str) -> str:
    """Return the address of a static file; it changes with any of them, so browsers may keep each for ever."""
    if not (STATIC / name).is_file():
        raise FileNotFoundError(name)
    return f"/static/{_look()}/{name}"


@cache
def _look() -> str:
    # One digest for all: a script's own imports then get new addresses too.
    whole = hashlib.sha256()
    for path in sorted(STATIC.rglob("*.*")):
        whole.update(path.read_bytes())
    return whole.hexdigest()[:10]


def plain_json(value: object) -> str:
    """Return a value as JSON to be read, not to be put into a script: escaped like any other text."""
    return msgspec.json.encode(value).decode()


def milliseconds(value: float) -> str:
    """Return a duration as people read it: 180 ms, 2.4 s."""
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.1f} s"


def span(seconds: float) -> str:
    """Return a length of time as people read it: 4 s, 3 min, 5 h, 2 days."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def after(seconds: float) -> str:
    """Return how much later something happened: 0.012 s, 4.2 s, 3 min."""
    return f"{seconds:.3f} s" if seconds < 1 else f"{seconds:.1f} s" if seconds < 120 else span(seconds)


def readable(value: object) -> str:
    """Return a value as JSON that people read, one field a line."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def size(count: float) -> str:
    """Return a number of bytes as people read it: 512 B, 3.4 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def spark(values: Sequence[float], samples: int = SAMPLES, steps: int = SAMPLES) -> str:
    """Return a line through the newest `samples` values as an SVG path of at most `steps` steps, 60 wide, 22 high.

    The newest stands at the right edge. Relative whole pixels: pages with many agents stay light.
    """
    width = samples // steps
    groups = [values[max(0, end - width) : end] for end in range(len(values), max(0, len(values) - samples), -width)]
    heights = [sum(group) / len(group) for group in reversed(groups)]
    top = 1.25 * max(heights, default=0.0) or 1.0
    ys = [round(21 - 20 * height / top) for height in heights]
    if not ys:
        return ""
    moves = "".join(f"l{width} {y - before}" for before, y in pairwise(ys))
    return f"M{samples - (len(ys) - 1) * width} {ys[0]}{moves.replace(' -', '-')}"
