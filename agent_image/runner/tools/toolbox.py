"""The tools this runner has: built in, from modules its settings name, from installed packages."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import Protocol

import msgspec

from agent_image.runner.llm import ToolSpec
from agent_image.runner.tools.tool import Tool, registered
from appliance.core import logs
from appliance.core.errors import BadInput

log = logs.get("tools")
GROUP = "nexus.tools"


class Source(Protocol):
    """Brings tools that come and go while the runner runs."""

    def tools(self) -> Mapping[str, Tool]:
        """Return those there are now."""

    async def ready(self, name: str) -> None:
        """Wait a little for a tool that may still come."""

    def stand_in(self, name: str) -> Tool | None:
        """Return what is called in place of a tool of this source that is not there."""


class Toolbox:
    """Tools by name: fixed ones, which win, and those of sources."""

    def __init__(
        self, tools: Mapping[str, Tool], sources: Sequence[Source] = (), allows: Callable[[Tool], bool] = lambda _: True
    ) -> None:
        self._fixed = dict(tools)
        self._sources = sources
        self._allows = allows

    def specs(self) -> tuple[ToolSpec, ...]:
        """Return what a model is told of them, in an order that does not change."""
        return tuple(it.spec for it in self._all().values())

    def unasked(self, *, without: str) -> "Toolbox":
        """Return those that nobody has to be asked for, before a call or after one that was cut off."""

        def asks_nobody(it: Tool) -> bool:
            return not it.approval and it.effect != "side_effecting" and it.spec.name != without

        return Toolbox(self._fixed, self._sources, asks_nobody)

    def find(self, name: str) -> Tool:
        """Return a tool; BadInput names those there are."""
        there = self._there()
        found = there[name] if name in there else self._stand_in(name)
        if found is None or not self._allows(found):
            raise BadInput(f"There is no tool {name!r}; there are: {', '.join(self._all()) or 'none'}.")
        return found

    def _stand_in(self, name: str) -> Tool | None:
        """Return what a source has in place of a tool that is not there.

        Where nobody can be asked, no tool had side effects: so its stand-in, which calls nothing, has none either.
        """
        found = next(filter(None, (it.stand_in(name) for it in self._sources)), None)
        return found if found is None or self._allows(found) else msgspec.structs.replace(found, effect="pure")

    async def ready(self, name: str) -> None:
        """Wait a little for a tool that may still come: its source may only just have been started."""
        if name not in self._fixed:
            await asyncio.gather(*(source.ready(name) for source in self._sources))

    def _there(self) -> dict[str, Tool]:
        return {name: tool for source in self._sources for name, tool in source.tools().items()} | self._fixed

    def _all(self) -> dict[str, Tool]:
        return {name: tool for name, tool in sorted(self._there().items()) if self._allows(tool)}


def fill(modules: Iterable[str], built_in: Iterable[Tool], sources: Sequence[Source] = ()) -> Toolbox:
    """Import what brings tools, and return them all; a built-in tool wins over one of its name."""
    for module in modules:
        import_module(module)
    for point in entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:  # somebody else's package must not keep this agent from serving
            log.error("plugin_failed", name=point.name, error=repr(error))
    return Toolbox(registered | {it.spec.name: it for it in built_in}, sources)
