"""Twelve ways out of the box, each of which fails; that the test would notice is shown in tests/mutations."""

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent_image.runner.tools.terminal import Limits, run
from agent_image.runner.tools.terminal.running import memory_of
from agent_image.shared_page import SharedPage
from tests.boxes import living, needs_boxes, traces

pytestmark = needs_boxes
SECRET = "the-word-that-nobody-may-read"
MIB = 2**20
SYSCALL = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def tell(name, result):
    print(name, 'WORKED' if result >= 0 else errno.errorcode[ctypes.get_errno()], flush=True)
"""


async def said(command: str, limits: Limits = Limits()) -> str:  # noqa: B008
    return (await run(command, limits)).output


async def python(program: str, limits: Limits = Limits()) -> str:  # noqa: B008
    return await said(f"python3 - <<'END'\n{program}\nEND", limits)


async def test_no_file_secret_or_environment_of_others_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXUS_PROBE", SECRET)
    file = tmp_path / "redis_password"
    file.write_text(SECRET)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder.is_relative_to("/tmp"):
            folder.chmod(0o755)
    look = f"cat {file} /etc/shadow /etc/passwd /root/.bashrc; ls -A / /root /home /var /run /opt /srv; "
    found = await said(look + "env; cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n'; ls /etc; ls -A /usr/local")
    listing = found.split("/:\n", 1)[1].split()[:10] if "/:\n" in found else []
    assert listing == ["bin", "dev", "etc", "lib", "lib64", "proc", "sbin", "tmp", "usr", "work"]
    assert SECRET not in found
    assert "root:" not in found
    assert await said("env | cut -d= -f1 | sort | tr '\\n' ' '") == "HOME LANG PATH PWD SHLVL TMPDIR _ "
    assert (await said("ls -A /usr/local; ls -A /etc")).split() == sorted(
        Path(path).name for path in ("/etc/alternatives", "/etc/ld.so.cache", "/etc/localtime") if Path(path).exists()
    )


WRITABLE = """
import os
for folder, _, files in os.walk('/'):
    try:
        os.mkdir(f'{folder}/mine'); os.rmdir(f'{folder}/mine'); print(folder)
    except OSError: pass
    for file in files:
        if not os.path.islink(path := f'{folder}/{file}') and os.path.isfile(path) and os.access(path, os.W_OK):
            print(path)
"""


async def test_nothing_can_be_written_outside_the_work_folder_and_it_goes_away() -> None:
    assert await python(WRITABLE) == "/work\n"
    places = "/ /etc /usr /usr/bin /usr/local /dev /dev/shm /proc /lib/x"
    ran = await run(f"for p in {places}; do touch $p/mine 2>/dev/null && echo $p; done; echo x > mine; cat mine")
    assert ran.output == "x\n"
    assert await said("ls -A") == ""


PROBE = """
import socket
for family, address in [(1, {name}), (2, ('127.0.0.1', {port})), (2, ('{own}', {port})), (2, ('192.0.2.1', 80))]:
    try:
        with socket.socket(family) as s:
            s.settimeout(1); s.connect(address); print('REACHED')
    except OSError as error: print(type(error).__name__)
for family in (15, 16, 17, 29, 38, 40, 44):
    try: socket.socket(family, socket.SOCK_RAW if family in (16, 17) else socket.SOCK_STREAM); print('MADE')
    except OSError as error: print(error.errno)
print([line.split(':')[0].strip() for line in open('/proc/net/dev') if ':' in line])
"""


async def test_no_network_is_reached_neither_this_machines_services_nor_the_world() -> None:
    heard: list[str] = []
    async with _listening(heard) as (port, name):
        probe = PROBE.format(name=name, port=port, own=_own_address())
        outside = await asyncio.to_thread(subprocess.run, ["python3", "-c", probe], capture_output=True, text=True)
        assert outside.stdout.split()[:3] == ["REACHED"] * 3  # the probe can find what it looks for
        heard.clear()
        found = (await python(probe)).split()
    assert "REACHED" not in found
    assert found[4:11] == ["97"] * 7  # EAFNOSUPPORT: not even one that namespaces do not part, as AF_VSOCK
    assert found[11:] == ["['lo']"]
    assert heard == []


@asynccontextmanager
async def _listening(heard: list[str]) -> AsyncIterator[tuple[int, bytes]]:
    """Listen at every address of this machine and at an abstract Unix socket."""

    def hear(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append("somebody")
        writer.close()

    name = f"\0nexus-{os.getpid()}-{time.monotonic_ns()}".encode()
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(name)
    async with await asyncio.start_server(hear, "0.0.0.0", 0) as tcp, await asyncio.start_unix_server(hear, sock=unix):
        yield tcp.sockets[0].getsockname()[1], name


def _own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing, only asks for the way
        return str(probe.getsockname()[0])


async def test_no_process_of_this_machine_is_seen_or_killed() -> None:
    victim = subprocess.Popen(["sleep", "1000"])
    try:
        assert set((await said("cat /proc/[0-9]*/comm")).split()) <= {"bash", "bwrap", "cat"}
        found = await said(f"kill -9 {victim.pid}; kill -9 {os.getpid()}; kill -9 -1")
        assert found.count("No such process") >= 2
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


async def test_a_fork_bomb_goes_off_in_its_box_alone() -> None:
    bomb = """
import os, time
made = 0
try:
    for _ in range(500):
        if os.fork() == 0: time.sleep(60)
        made += 1
except OSError: pass
print(made, flush=True)
time.sleep(60)
"""
    burning = asyncio.create_task(python(bomb, Limits(seconds=3, processes=40)))
    await asyncio.sleep(1)
    beside = await run("true | true && echo fine", Limits(processes=10))
    assert beside.output == "fine\n"
    assert 20 < int((await burning).split()[0]) < 40
    ran = await run(":(){ :|:& };:; sleep 30", Limits(seconds=1.5))
    assert ran.timed_out
    assert ran.seconds < 6


async def test_a_memory_bomb_ends_whether_it_is_one_process_or_many_or_hides() -> None:
    small = Limits(seconds=20, memory_bytes=128 * MIB)
    assert "MemoryError" in await python("bytearray(200 * 2**20)", small)
    many = "for i in 1 2 3 4; do python3 -c 'import time; x = bytearray(60 << 20); time.sleep(20)' & done; wait"
    ran = await run(many, small)
    assert "[ended: all together it used more than 128 MiB of memory]" in ran.output
    assert ran.seconds < 10
    hidden = f"{SYSCALL}\ntell('memfd', libc.memfd_create(b'x', 0))\ntell('shm', libc.shmget(0, 1 << 20, 0o1600))"
    assert await python(hidden) == "memfd EPERM\nshm EPERM\n"
    assert await said("cat /proc/self/oom_score_adj") == "1000\n"  # where all else fails the kernel chooses the box


async def test_the_sum_of_memory_counts_every_descendant() -> None:
    child = "import time; x = bytearray(40 << 20); print(1, flush=True); time.sleep(60)"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    parent = subprocess.Popen(["python3", "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    try:
        await asyncio.to_thread(parent.stdout.readline)
        assert 40 * MIB < memory_of(parent.pid) < 120 * MIB
    finally:
        subprocess.run(["kill", *Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()])
        parent.wait()
        parent.stdout.close()
    assert memory_of(parent.pid) == 0


async def test_no_disk_is_filled_by_one_file_or_by_many() -> None:
    small = Limits(file_bytes=10 * MIB)
    found = await said(
        "for i in 1 2 3 4 5 6; do head -c 4M /dev/zero > $i; done 2>/dev/null; du -sm . | cut -f1", small
    )
    assert 8 <= int(found) <= 10
    assert "File size limit exceeded" in await said("truncate -s 1G sparse; ls", small)


async def test_a_flood_of_output_is_stopped_at_once() -> None:
    ran = await run("yes & yes >&2 & yes", Limits(seconds=30, output_bytes=10_000))
    assert (ran.truncated, ran.timed_out, ran.exit_code) == (True, False, None)
    assert len(ran.output) < 10_200
    assert ran.seconds < 10


DETACHED = [
    "setsid {0} & wait",
    "nohup {0} & wait",
    "({0} &) & sleep 60",
    "trap '' TERM HUP; {0}; true",
    "exec <&- >&- 2>&-; setsid -f {0}; sleep 60",
]


@pytest.mark.parametrize("detached", DETACHED)
async def test_nothing_outlives_the_time_it_was_given(detached: str, sleeper: tuple[str, str]) -> None:
    command, mark = sleeper
    running = asyncio.create_task(run(detached.format(command), Limits(seconds=1.5)))
    await asyncio.sleep(0.8)
    assert len(living(mark)) == 1
    assert (await running).timed_out
    assert traces(mark) == []


async def test_nothing_outlives_a_command_that_ends_by_itself(sleeper: tuple[str, str]) -> None:
    command, mark = sleeper
    for _ in range(10):
        ran = await run(f"setsid -f {command} >/dev/null 2>&1; ({command} >/dev/null 2>&1 &); echo done")
        assert (ran.exit_code, ran.output) == (0, "done\n")
        assert traces(mark) == []


async def test_no_right_is_gained() -> None:
    calls = """
tell('mount', libc.mount(b'none', b'/work', b'tmpfs', 0, None))
tell('chroot', libc.chroot(b'/work'))
tell('unshare', libc.unshare(0x10000000))
tell('clone', libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0))
tell('ptrace', libc.ptrace(16, os.getppid(), 0, 0))
tell('keyctl', libc.syscall(250, 0, -3, 0))
tell('io_uring', libc.syscall(425, 1, 0))
tell('bpf', libc.syscall(321, 0, 0, 0))
tell('mknod', libc.mknod(b'/work/disk', 0o60600, 254 << 8))
"""
    found = dict(line.split() for line in (await python(SYSCALL + calls)).splitlines())
    assert found.pop("clone") in ("ENOSPC", "EPERM")  # no user namespace is left to be made
    assert set(found.values()) == {"EPERM"}
    status = await said("grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status")
    assert {line.split()[1].strip("0") for line in status.splitlines() if line.startswith("Cap")} == {""}
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    assert await python(f"{SYSCALL}\ntell('setuid', libc.setuid(0))") == "setuid EINVAL\n"  # there is no root in it
    assert "uid=0" not in await said("su -c id; sudo -n id; passwd -d root; id")


async def test_no_open_descriptor_is_inherited(tmp_path: Path) -> None:
    page = SharedPage.create()
    (tmp_path / "secret").write_text(SECRET)
    with socket.create_server(("127.0.0.1", 0)) as server, (tmp_path / "secret").open() as file:
        for descriptor in (page.descriptor, server.fileno(), file.fileno()):
            os.set_inheritable(descriptor, True)  # as the page is in a runner
        everything = await said("for p in self 1 $$; do ls -l /proc/$p/fd | sed -n 's/.*-> //p'; done")
    kinds = {line.split(":")[0] for line in everything.split()}
    assert {kind for kind in kinds if not kind.startswith("/proc/")} == {"/dev/null", "pipe", "anon_inode"}
    assert "eventfd" in everything  # bwrap's own, by which its two processes tell each other of the end
    assert await said("ls /proc/$$/fd | tr '\\n' ' '") == "0 1 2 "
    os.close(page.descriptor)


async def test_no_way_leads_out_through_proc_or_sys() -> None:
    assert await said("ls -A /proc/1/root/ | tr '\\n' ' '") == await said("ls -A / | tr '\\n' ' '")
    assert await said("cd /proc/1/root/../../..; ls -A | tr '\\n' ' '") == await said("ls -A / | tr '\\n' ' '")
    out = "/sys /sys/fs/cgroup /proc/1/root/root /proc/1/root/etc/shadow /proc/1/cwd/root /proc/self/root/var"
    assert await said(f"for p in {out}; do test -e $p && echo $p; done") == ""
    assert await said("for f in /proc/kcore /proc/1/mem /proc/kmsg; do head -c1 $f 2>/dev/null && echo $f; done") == ""
    knobs = "/proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/sys/kernel/shmmax /proc/self/oom_score_adj"
    assert await said(f"for f in {knobs}; do (echo 1 > $f) 2>/dev/null && echo $f; done") == ""
