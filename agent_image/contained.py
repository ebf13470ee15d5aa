"""One agent in a container: finds out which one it is and where the others reach it, then becomes its keeper.

Containers of one service are alike but for their name, `PROJECT-agent-2`, which Docker's own DNS tells to whoever asks
about the address. So an agent keeps its name when it is started anew, and nobody hands out numbers.
"""

import os
import re
import socket
import struct
import sys
import time
from pathlib import Path

from appliance.containers.healthy import own_addresses
from appliance.embedded.launch import allow_open_files

NETWORK = "app"
"""The one of its networks on which agents meet."""
_NAME = re.compile(rf"^\S+[-_](agent-[1-9]\d*)\.\S+_{NETWORK}$")
_POINTER = 12
_TRIES, _PAUSE_S = 50, 0.1


def main() -> None:
    """Set what makes this agent itself, unless it was said, and run it."""
    if "CLUSTER_AGENT_ID" not in os.environ:
        agent, address = _patiently()
        os.environ |= {"CLUSTER_AGENT_ID": agent, "AGENT_HOST": address}
    allow_open_files()
    from agent_image.keeper.main import main as keeper  # settings are read once it is known

    keeper()


def _patiently() -> tuple[str, str]:
    for _ in range(_TRIES):
        if found := who_am_i():
            return found
        time.sleep(_PAUSE_S)
    sys.exit("Docker's DNS does not know this container as an agent: set CLUSTER_AGENT_ID and AGENT_HOST")


def who_am_i() -> tuple[str, str] | None:
    """Return this agent's name and its address on the agents' network."""
    for address in own_addresses():
        if found := _NAME.match(name_of(address)):
            return found[1], address
    return None


def name_of(address: str) -> str:
    """Ask DNS for an address's name; empty when it has none. `/etc/hosts`, which Docker fills as well, is not asked."""
    question = ".".join(reversed(address.split("."))) + ".in-addr.arpa"
    labels = b"".join(bytes([len(label)]) + label.encode() for label in question.split(".")) + b"\0"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dns:
        dns.settimeout(1)
        try:
            dns.sendto(struct.pack(">6H", 1, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">2H", _POINTER, 1), _server())
            return answer_in(dns.recv(1024), len(labels))
        except OSError:
            return ""


def _server() -> tuple[str, int]:
    found = re.search(r"^nameserver (\S+)$", Path("/etc/resolv.conf").read_text(), re.MULTILINE)
    return (found[1] if found else "127.0.0.11", 53)


def answer_in(message: bytes, question_length: int) -> str:
    """Return the name in a DNS answer whose question's labels took `question_length` bytes; empty without one. Pure."""
    if len(message) < 12 or struct.unpack_from(">H", message, 6)[0] == 0:
        return ""
    at = 12 + question_length + 4
    at += 2 if message[at] >= 0xC0 else question_length
    at += 10
    labels = []
    while at < len(message) and 0 < message[at] < 0xC0:
        labels.append(message[at + 1 : at + 1 + message[at]].decode(errors="replace"))
        at += 1 + message[at]
    return ".".join(labels)


if __name__ == "__main__":
    main()
