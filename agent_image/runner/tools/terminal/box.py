"""What the box is made of, as one command line of well-kept programs: bubblewrap, util-linux, coreutils. Pure.

From the outside in: `setpriv` becomes another user and asks to die with the runner, `bash` ends where the runner has
died before that, `choom` offers it to the kernel first where memory runs out, `unshare` makes a pid namespace around
everything, `timeout` in it ends the box even if the runner is frozen, `bwrap` makes the namespaces and the file system,
`nice` and `prlimit` set the limits, and `bash` waits for the runner's word before it begins.

No moment is without somebody who ends it: PR_SET_PDEATHSIG reaches one process and only once it is set, hence the look
at the parent, the outer namespace, which dies with its first process, and the word, which the dead do not give.
"""

from pathlib import Path

import msgspec

OUTSIDE_ID = 1_900_000_000
"""User and group of a command where the runner is root: in a range that systemd and useradd leave alone."""
INSIDE_ID = 65534
"""What a command takes itself for: nobody."""
WORK = "/work"
PATH = "/usr/bin:/usr/sbin:/bin:/sbin"
"""Where programs are, outside and inside."""
GRACE_S = 2
"""A runner that is not frozen ends a command itself, this much earlier than `timeout` does."""
_OPEN_FILES = 256
_LINKED = ("/bin", "/sbin", "/lib", "/lib64")
_SEEN = ("/etc/alternatives", "/etc/ld.so.cache", "/etc/localtime")
"""Of /etc: what programs need to start, nothing that tells of this machine's people or services."""


class Limits(msgspec.Struct, frozen=True):
    """How much one command may use."""

    seconds: float = 30.0
    """From its start to its end; then everything in the box is killed."""
    cpu_seconds: int = 20
    """Of processor time, for each process."""
    memory_bytes: int = 512 * 2**20
    """Of address space for each process, and of memory for all of them together."""
    processes: int = 64
    """And threads, two of the box itself among them."""
    output_bytes: int = 64 * 2**10
    """Of output and errors; a command that says more is ended."""
    file_bytes: int = 64 * 2**20
    """In the work folder, for one file and for all of them; it lies in memory."""


class Around(msgspec.Struct, frozen=True):
    """Whom the box belongs to, and the open descriptors it is given."""

    runner: int
    """Its process, the parent of the box."""
    is_root: bool
    filter_fd: int
    """From which bwrap reads the system calls that are denied."""
    status_fd: int
    """To which bwrap reports."""


_UNLESS_ORPHAN = '[ "$PPID" = "$0" ] && exec "$@"'
BEGUN = "begun"
_AT_THE_WORD = f'read -rN1 && echo {BEGUN} >&2 && exec bash -c -- "$0" </dev/null 2>&1'


def command_line(command: str, limits: Limits, around: Around) -> list[str]:
    """Return what runs `command` in the box once it is given a byte of input.

    Output and errors of the command come as output; errors are those of the box, the last of which is BEGUN.
    """
    # Without this root would be root in the files it can see, and the limit of processes would not hold.
    user = [f"--reuid={OUTSIDE_ID}", f"--regid={OUTSIDE_ID}", "--clear-groups"] if around.is_root else []
    return [
        *["setpriv", *user, "--pdeathsig=KILL", "--", "bash", "-c", _UNLESS_ORPHAN, str(around.runner)],
        *["choom", "--adjust=1000", "--"],
        *["unshare", "--user", "--map-current-user", "--pid", "--fork", "--kill-child=KILL", "--"],
        *["timeout", "--signal=KILL", f"{limits.seconds + GRACE_S:.1f}"],
        *["bwrap", *_namespaces(), *_files(limits), *_environment()],
        *["--seccomp", str(around.filter_fd), "--json-status-fd", str(around.status_fd), "--"],
        *["nice", "--adjustment=19", "prlimit", *_limits(limits), "--", "bash", "-c", _AT_THE_WORD, command],
    ]


def _namespaces() -> list[str]:
    return [
        *["--unshare-all", "--unshare-user", "--disable-userns", "--uid", f"{INSIDE_ID}", "--gid", f"{INSIDE_ID}"],
        *["--hostname", "box", "--new-session"],
    ]


def _files(limits: Limits) -> list[str]:
    """Debian's programs to read, the work folder to write; /usr/local belongs to the machine, so it is hidden."""
    return [
        *["--ro-bind", "/usr", "/usr", "--tmpfs", "/usr/local", "--remount-ro", "/usr/local"],
        *[word for path in _LINKED for word in _as_here(path)],
        *[word for path in _SEEN for word in ("--ro-bind-try", path, path)],
        *["--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev", "--remount-ro", "/dev"],
        *["--size", str(limits.file_bytes), "--tmpfs", WORK, "--symlink", WORK, "/tmp", "--chdir", WORK],  # noqa: S108
        *["--remount-ro", "/"],
    ]


def _as_here(path: str) -> list[str]:
    here = Path(path)
    return ["--symlink", str(here.readlink()), path] if here.is_symlink() else ["--ro-bind-try", path, path]


def _environment() -> list[str]:
    given = {"PATH": PATH, "HOME": WORK, "TMPDIR": WORK, "LANG": "C.UTF-8"}
    return ["--clearenv", *[word for name, value in given.items() for word in ("--setenv", name, value)]]


def _limits(limits: Limits) -> list[str]:
    """Set inside the box: the limit of processes then counts this box's alone (Linux 5.14 or newer)."""
    return [
        f"--nproc={limits.processes}",
        f"--as={limits.memory_bytes}",
        f"--cpu={limits.cpu_seconds}",
        f"--fsize={limits.file_bytes}",
        f"--nofile={_OPEN_FILES}",
        "--core=0",
    ]
