"""Two hosts on one machine: network namespaces joined by veth, each process in a mount namespace of its own.

Needs root, `ip` and `unshare`. Names carry this process's id, so that runs stand side by side; leaving removes it all.
"""

import os
import shutil
import subprocess

HOST = "10.213.0.1"
"""The address of this machine on the bridge, where the stores listen."""


def may_be_made() -> str | None:
    """Return why namespaces cannot be made here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    if not (shutil.which("ip") and shutil.which("unshare")):
        return "needs iproute2 and util-linux"
    done = subprocess.run(["ip", "netns", "add", f"nx-try-{os.getpid()}"], capture_output=True, check=False)
    if done.returncode:
        return f"this machine forbids network namespaces ({done.stderr.decode().strip()})"
    ip("netns", "del", f"nx-try-{os.getpid()}")
    return None


def ip(*arguments: str) -> None:
    """Run `ip`; fails loudly."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Hosts:
    """A bridge and one namespace per name, with addresses 10.213.0.2 and up."""

    def __init__(self, *names: str) -> None:
        self._mark = f"{os.getpid() % 100000}"
        self._bridge = f"nxb{self._mark}"
        self.addresses = {name: f"10.213.0.{number}" for number, name in enumerate(names, 2)}

    def __enter__(self) -> "Hosts":
        ip("link", "add", self._bridge, "type", "bridge")
        ip("addr", "add", f"{HOST}/24", "dev", self._bridge)
        ip("link", "set", self._bridge, "up")
        for number, (name, address) in enumerate(self.addresses.items()):
            inside, outside = f"nxi{self._mark}{number}", f"nxo{self._mark}{number}"
            ip("netns", "add", self._space(name))
            ip("link", "add", outside, "type", "veth", "peer", "name", inside)
            ip("link", "set", outside, "master", self._bridge)
            ip("link", "set", outside, "up")
            ip("link", "set", inside, "netns", self._space(name))
            ip("-n", self._space(name), "addr", "add", f"{address}/24", "dev", inside)
            for device in (inside, "lo"):
                ip("-n", self._space(name), "link", "set", device, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.addresses:
            subprocess.run(["ip", "netns", "del", self._space(name)], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", self._bridge], check=False, capture_output=True)

    def _space(self, name: str) -> str:
        return f"nx-{name}-{self._mark}"

    def command(self, name: str, *command: str) -> list[str]:
        """Return what runs `command` on that host: its own network, mounts, and an empty /var/tmp nobody else sees."""
        own_mounts = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
        return [
            "ip",
            "netns",
            "exec",
            self._space(name),
            *own_mounts,
            'mount -t tmpfs none /var/tmp && exec "$@"',
            "sh",
            *command,
        ]

    def cut(self, name: str) -> None:
        """Take a host off the network: its packets vanish without a word."""
        number = list(self.addresses).index(name)
        ip("link", "set", f"nxo{self._mark}{number}", "down")

    def join(self, name: str) -> None:
        """Put it back."""
        number = list(self.addresses).index(name)
        ip("link", "set", f"nxo{self._mark}{number}", "up")
