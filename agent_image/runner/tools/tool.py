"""What a tool is: a function, what a model is told of it, and what it changes outside (DESIGN 6.3, 12)."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, get_type_hints

import msgspec

from agent_image.runner.llm import ToolSpec
from appliance.core.errors import BadInput
from appliance.core.records import User
from appliance.core.task_ledger import Effect

Function = Callable[..., Awaitable[Any]]
EFFECTS = ("pure", "idempotent", "side_effecting")
registered: dict[str, "Tool"] = {}
"""What modules brought, by name."""


class ToolFailed(Exception):
    """A tool raises this when nothing has happened and nothing will; the model reads the sentence.

    Any other exception of a tool with side effects leaves its outcome unknown, and a person is asked.
    """


class Call(msgspec.Struct, frozen=True):
    """What a tool is told besides its arguments."""

    key: str
    """The same however often this call is tried: hand it on as an idempotency key."""
    user: User
    task: str
    conversation: str
    trace: str


class Tool(msgspec.Struct, frozen=True):
    """A tool as Nexus runs it."""

    spec: ToolSpec
    effect: Effect
    approval: bool
    run: Function
    arguments: Any
    """The type of what the model writes: a struct, or a dict whose own schema somebody else checks."""
    limit_s: float = 0.0
    """Seconds a call may take; 0: as many as TOOL_TIMEOUT says."""

    def read(self, arguments: str) -> dict[str, Any]:
        """Return the arguments a model wrote, checked.

        Raises:
            BadInput: they do not fit; the sentence is for the model, which may try again.
        """
        if "\\u0000" in arguments:
            raise BadInput(f"The arguments of {self.spec.name} do not fit: NUL characters cannot be kept.")
        try:
            given = msgspec.json.decode(arguments or "{}", type=self.arguments)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise BadInput(f"The arguments of {self.spec.name} do not fit: {error}.") from None
        return given if isinstance(given, dict) else {name: getattr(given, name) for name in given.__struct_fields__}


def tool(effect: Effect, *, approval: bool = False) -> Callable[[Function], Function]:
    """Make a coroutine function a tool, under its own name; its docstring is what the model reads.

    `approval`: its user is asked before each call. The first parameter is the `Call`, the others are the model's.
    """

    def keep(function: Function) -> Function:
        made = make(function, effect, approval=approval)
        if registered.setdefault(made.spec.name, made).run is not function:
            raise ValueError(f"two tools are called {made.spec.name}")
        return function

    return keep


def make(function: Function, effect: Effect, *, approval: bool = False, limit_s: float = 0.0) -> Tool:
    """Return the tool that a function is; ValueError says what it lacks."""
    name = getattr(function, "__name__", "")
    if effect not in EFFECTS:
        raise ValueError(f"the effect of {name} is one of {', '.join(EFFECTS)}")
    if not function.__doc__:
        raise ValueError(f"{name} needs a docstring: it is what the model reads")
    arguments = _arguments_of(name, function)
    _, parts = msgspec.json.schema_components([arguments], ref_template="#/$defs/{name}")
    parameters = parts.pop(arguments.__name__) | ({"$defs": parts} if parts else {})
    spec = ToolSpec(name, inspect.cleandoc(function.__doc__), parameters)
    return Tool(spec, effect, approval, function, arguments, limit_s)


def _arguments_of(name: str, function: Function) -> type[msgspec.Struct]:
    hints = get_type_hints(function, include_extras=True)
    _, *theirs = inspect.signature(function).parameters.values()
    fields = [
        (it.name, hints[it.name]) if it.default is it.empty else (it.name, hints[it.name], it.default) for it in theirs
    ]
    return msgspec.defstruct(name, fields, forbid_unknown_fields=True, kw_only=True)
