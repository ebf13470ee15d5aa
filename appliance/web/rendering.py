"""Whole page or one block of it: decided here, never in a handler."""

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from litestar import Request
from litestar.response import Response

ROOT = Path(__file__).parent
STATIC = ROOT / "static"
_ENVIRONMENT = "nexus_templates"


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
    made.filters |= {"ms": milliseconds, "count": "{:,}".format}
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


def milliseconds(value: float) -> str:
    """Return a duration as people read it: 180 ms, 2.4 s."""
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.1f} s"
