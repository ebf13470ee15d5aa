"""Which MCP servers there are: the file that `MCP_SERVERS` names."""

import re
from pathlib import Path

import msgspec

from appliance.core.errors import SettingsError

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,32}")
_EXAMPLE = '{"mcpServers": {"files": {"command": "npx", "args": ["-y", "name-of-a-package"]}}}'


class Entry(msgspec.Struct, frozen=True):
    """How one server is started. What other clients keep in such a file besides is left alone."""

    command: str
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    """All it sees of the environment, besides PATH, HOME and the like."""
    approval: bool = True
    """Whether a person is asked before a call that changes something."""


class _File(msgspec.Struct, frozen=True):
    servers: dict[str, Entry] = msgspec.field(name="mcpServers")


def read(path: str) -> dict[str, Entry]:
    """Return the servers that a file names; none without a file.

    Raises:
        SettingsError: it cannot be used; says what to change.
    """
    if not path:
        return {}
    try:
        servers = msgspec.json.decode(Path(path).read_bytes(), type=_File).servers
    except OSError as error:
        raise SettingsError(f"MCP_SERVERS: {path} cannot be read ({error.strerror}); name a file that can") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise SettingsError(f"MCP_SERVERS: {path} is not what is wanted: {error}; write {_EXAMPLE}") from None
    for name, entry in servers.items():
        if not _NAME.fullmatch(name):
            raise SettingsError(f"MCP_SERVERS: name {name!r} in {path} with 1 to 32 letters, digits, - and _ instead")
        if not entry.command:
            raise SettingsError(f"MCP_SERVERS: {name!r} in {path} has no command; name the program that is the server")
    return servers
