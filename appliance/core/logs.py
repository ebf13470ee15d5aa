"""Structured logs: one JSON line per fact, on standard error, never a secret."""

import logging
import re
import sys
from typing import Any

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

_SECRET_NAME = re.compile(r"password|secret|token|api_key|authorization|cookie", re.IGNORECASE)
_SECRET_IN_URL = re.compile(r"(://[^/:@\s]*:)[^/@\s]+@")
_SECRET_PATH = re.compile(r"(/login/)[\w-]+")


def configure(level: str, **bound: Any) -> None:
    """Set up logging of this process; `bound` facts (agent, boot) stand in every line.

    What libraries log through `logging`, warnings and worse, becomes such a line as well.
    """
    said: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    written: list[Processor] = [
        structlog.processors.format_exc_info, redact, structlog.processors.JSONRenderer(),
    ]  # fmt: skip
    structlog.configure(
        processors=[*said, *written],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(**bound)
    libraries = logging.StreamHandler(sys.stderr)
    libraries.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[*said, _of_a_library], processors=[ProcessorFormatter.remove_processors_meta, *written]
        )
    )
    logging.basicConfig(handlers=[libraries], level=logging.WARNING, force=True)


def _of_a_library(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Move a library's sentence out of the place of our event names."""
    return {"component": line["_record"].name, "said": line["event"], **line, "event": "library"}


def redact(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Blank what is named like a secret, passwords inside URLs and login links (invariant I17)."""
    for name, value in line.items():
        if _SECRET_NAME.search(name):
            line[name] = "[redacted]"
        elif isinstance(value, str):
            line[name] = _SECRET_PATH.sub(r"\1[redacted]", _SECRET_IN_URL.sub(r"\1[redacted]@", value))
    return line


def get(name: str) -> Any:
    """Return a logger; events are snake_case facts, details are keyword fields."""
    return structlog.get_logger(component=name)
