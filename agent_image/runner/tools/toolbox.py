"""The tools this runner has: built in, from modules its settings name, from installed packages."""

from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.metadata import entry_points

from agent_image.runner.llm import ToolSpec
from agent_image.runner.tools.tool import Tool, registered
from appliance.core import logs
from appliance.core.errors import BadInput

log = logs.get("tools")
GROUP = "nexus.tools"


class Toolbox:
    """Tools by name."""

    def __init__(self, tools: Mapping[str, Tool]) -> None:
        self._tools = dict(sorted(tools.items()))

    def specs(self) -> tuple[ToolSpec, ...]:
        """Return what a model is told of them, in an order that does not change."""
        return tuple(it.spec for it in self._tools.values())

    def unasked(self, *, without: str) -> "Toolbox":
        """Return those that nobody has to be asked for, before a call or after one that was cut off."""
        return Toolbox(
            {
                name: it
                for name, it in self._tools.items()
                if not it.approval and it.effect != "side_effecting" and name != without
            }
        )

    def find(self, name: str) -> Tool:
        """Return a tool; BadInput names those there are."""
        try:
            return self._tools[name]
        except KeyError:
            raise BadInput(f"There is no tool {name!r}; there are: {', '.join(self._tools) or 'none'}.") from None


def fill(modules: Iterable[str], built_in: Iterable[Tool]) -> Toolbox:
    """Import what brings tools, and return them all; a built-in tool wins over one of its name."""
    for module in modules:
        import_module(module)
    for point in entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:  # somebody else's package must not keep this agent from serving
            log.error("plugin_failed", name=point.name, error=repr(error))
    return Toolbox(registered | {it.spec.name: it for it in built_in})
