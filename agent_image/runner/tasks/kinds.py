"""Which kinds of tasks there are, and what runs them. `TASK_MODULES` names modules that bring more."""

from collections.abc import Awaitable, Callable, Iterable
from importlib import import_module
from typing import Any

from appliance.core.errors import BadInput
from appliance.core.records import Task

Handler = Callable[[Task], Awaitable[dict[str, Any]]]
_known: dict[str, Handler] = {}


def task_kind(name: str) -> Callable[[Handler], Handler]:
    """Make a coroutine function the handler of tasks of a kind; what it returns is the task's result.

    An exception is a failed try: the task is tried again, three times in all, then it is dead.
    """

    def keep(handler: Handler) -> Handler:
        if _known.setdefault(name, handler) is not handler:
            raise ValueError(f"two handlers are called {name}")
        return handler

    return keep


def provide(name: str, handler: Handler) -> None:
    """Make `handler` that of a kind Nexus itself brings; the last one provided counts."""
    _known[name] = handler


def handler_of(kind: str) -> Handler:
    """Return a kind's handler.

    Raises:
        BadInput: this agent has none.
    """
    try:
        return _known[kind]
    except KeyError:
        raise BadInput(f"This agent knows no tasks of kind {kind!r}; it knows: {', '.join(sorted(_known))}.") from None


def load(modules: Iterable[str]) -> None:
    """Import modules that bring handlers."""
    for module in modules:
        import_module(module)
