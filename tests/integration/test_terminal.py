"""A command in its box: what it says, how it ends, and that nothing of it is left (DESIGN 12)."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent_image.runner.tools.terminal import Limits, run
from agent_image.runner.tools.terminal.box import BEGUN, GRACE_S, Around, command_line
from agent_image.runner.tools.terminal.filter import program
from appliance.core.errors import BadInput, NotIsolated, TooLarge
from tests.boxes import living, needs_boxes, parent_of, runner_of, traces
from tests.waiting import wait_until

pytestmark = needs_boxes


async def test_a_pipe_of_programs_works_and_files_of_the_work_folder_can_be_read_again() -> None:
    ran = await run("seq 1 1000 > numbers && sort -rn < numbers | head -n 2 | tee last; cat last; pwd; echo $HOME")
    assert (ran.exit_code, ran.output) == (0, "1000\n999\n1000\n999\n/work\n/work\n")
    assert (ran.truncated, ran.timed_out) == (False, False)


@pytest.mark.parametrize(("command", "code"), [("exit 7", 7), ("false", 1), ("no-such-program", 127),
                                               ("kill -TERM $$", 143), ("true", 0), ("", 0), ("-x", 127)])  # fmt: skip
async def test_the_exit_code_is_the_commands(command: str, code: int) -> None:
    assert (await run(command)).exit_code == code


async def test_output_and_errors_come_in_the_order_in_which_they_were_said() -> None:
    ran = await run("echo one; echo two >&2; echo three; echo four >&2")
    assert ran.output == "one\ntwo\nthree\nfour\n"


async def test_unicode_goes_in_and_out_and_what_is_none_becomes_a_sign_that_postgresql_can_store() -> None:
    assert (await run("echo 'Grüße, 世界 🐌' | tr -d '\\n'")).output == "Grüße, 世界 🐌"
    assert (await run(r"printf 'a\xff\x00b'")).output == "a\ufffd\ufffdb"


async def test_a_command_that_says_nothing_has_empty_output_and_no_input_to_wait_for() -> None:
    ran = await run("cat; true")
    assert (ran.exit_code, ran.output) == (0, "")


async def test_more_output_than_allowed_is_cut_and_says_what_to_do() -> None:
    fits = await run("printf 12345", Limits(output_bytes=5))
    assert (fits.output, fits.truncated, fits.exit_code) == ("12345", False, 0)
    cut = await run("printf 123456", Limits(output_bytes=5))
    assert cut.truncated
    assert cut.exit_code is None
    assert cut.output == "12345\n[ended: it said more than 5 bytes: write to a file and show a part of it]"


async def test_what_was_said_before_the_time_was_up_is_kept() -> None:
    ran = await run("echo begun; sleep 60", Limits(seconds=0.5))
    assert (ran.exit_code, ran.timed_out, ran.truncated) == (None, True, False)
    assert ran.output == "begun\n\n[ended: it took more than 0.5 s]"
    assert 0.5 <= ran.seconds < 5


async def test_twenty_at_once_do_not_see_each_other() -> None:
    command = "echo {0} > mine; sleep 0.3; cat *; ls /proc | grep -c '^[0-9]'"
    many = await asyncio.gather(*(run(command.format(number)) for number in range(20)))
    assert [ran.output.split()[0] for ran in many] == [str(number) for number in range(20)]
    assert {len(ran.output.split()) for ran in many} == {2}
    assert max(int(ran.output.split()[1]) for ran in many) <= 6
    assert max(ran.seconds for ran in many) < 15


async def test_a_cancelled_command_is_gone_when_the_cancellation_returns(sleeper: tuple[str, str]) -> None:
    command, mark = sleeper
    running = asyncio.create_task(run(command))
    await wait_until(lambda: _living(mark), of="the command")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(running), 5)
    assert traces(mark) == []


async def test_one_that_is_cancelled_before_its_box_stands_or_twice_leaves_nothing_either(
    sleeper: tuple[str, str],
) -> None:
    command, mark = sleeper
    for looks in range(40):
        running = asyncio.create_task(run(command))
        for _ in range(looks):
            await asyncio.sleep(0.0005)
        running.cancel()
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    await wait_until(lambda: _untraced(mark), within_s=5, of="the end of every box")


async def test_no_descriptor_and_no_process_is_left_behind() -> None:
    await run("true")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        await run("true")
        await run("sleep 9", Limits(seconds=0.05))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    children = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "comm="], capture_output=True, text=True)
    assert "timeout" not in children.stdout


@contextmanager
def another_runner(command: str, seconds: float) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(runner_of(command, seconds), stdout=subprocess.PIPE) as runner:
        try:
            yield runner
        finally:
            runner.kill()


async def test_a_killed_runner_takes_its_command_with_it(sleeper: tuple[str, str]) -> None:
    command, mark = sleeper
    with another_runner(f"setsid {command} & {command}", 60) as runner:
        await wait_until(lambda: _living(mark, 2), of="the command")
        runner.send_signal(signal.SIGKILL)
        await wait_until(lambda: _gone(mark), within_s=5, of="the end of the command")


async def test_a_runner_that_is_killed_while_it_makes_a_box_leaves_none(sleeper: tuple[str, str]) -> None:
    command, mark = sleeper
    dying = subprocess.Popen([sys.executable, "-P", "-m", "tests.dying_runners", command, "75"])
    assert await asyncio.to_thread(dying.wait) == 0
    await wait_until(lambda: _untraced(mark), within_s=5, of="the end of every box")


async def test_a_frozen_runner_cannot_let_a_command_run_on(sleeper: tuple[str, str]) -> None:
    command, mark = sleeper
    with another_runner(command, 1.0) as runner:
        await wait_until(lambda: _living(mark), of="the command")
        runner.send_signal(signal.SIGSTOP)
        await wait_until(lambda: _gone(mark), within_s=1 + GRACE_S + 5, of="the end of the command")
        runner.send_signal(signal.SIGCONT)
        assert runner.communicate()[0] == b"\n[ended: it took more than 1 s]\n"


async def test_a_box_that_is_killed_from_outside_says_that_it_was(sleeper: tuple[str, str]) -> None:
    command, mark = sleeper
    running = asyncio.create_task(run(f"{command}; true"))
    await wait_until(lambda: _living(mark), of="the command")
    bash = parent_of(living(mark)[0])
    os.kill(parent_of(parent_of(bash)), signal.SIGKILL)  # bwrap, outside
    ran = await running
    assert (ran.exit_code, ran.timed_out) == (None, False)
    assert ran.output == "\n[ended: somebody or the kernel killed it, perhaps for want of memory]"
    assert living(mark) == []


async def test_what_cannot_be_a_command_is_refused_with_a_sentence() -> None:
    with pytest.raises(BadInput, match="NUL: leave it out"):
        await run("echo \0")
    with pytest.raises(BadInput, match="lone surrogates"):
        await run("echo \ud800")
    with pytest.raises(TooLarge, match="longer than 100000 bytes"):
        await run("#" * 100_001)
    assert (await run("true " + "x" * 99_000)).exit_code == 0


async def test_without_a_box_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever takes the box away, such as a setting of the kernel that changed meanwhile."""
    monkeypatch.setattr("agent_image.runner.tools.terminal.box.WORK", "/proc/work")
    with pytest.raises(NotIsolated, match="bwrap: "):
        await run("echo it ran")


def directly(command: str, *before: str, runner: int, word: str = "!") -> subprocess.CompletedProcess[str]:
    """Make a box without our own code around it."""
    with tempfile.TemporaryFile() as rules, tempfile.TemporaryFile() as status:
        rules.write(program())
        rules.seek(0)
        around = Around(runner, os.geteuid() == 0 and not before, rules.fileno(), status.fileno())
        return subprocess.run([*before, *command_line(command, Limits(), around)], cwd="/", input=word, text=True,
                              pass_fds=(rules.fileno(), status.fileno()), capture_output=True)  # fmt: skip


def test_an_ordinary_user_has_the_same_box() -> None:
    """Root's box is made by another user as well; here that user is the runner's own, who does not change."""
    somebody = ["setpriv", "--reuid=4242", "--regid=4242", "--clear-groups"] if os.geteuid() == 0 else ["env"]
    done = directly("id -u; touch /usr/x; echo hi > f && cat f", *somebody, runner=os.getpid())
    assert done.stdout == "65534\ntouch: cannot touch '/usr/x': Read-only file system\nhi\n"
    assert (done.returncode, done.stderr) == (0, f"{BEGUN}\n")


def test_nothing_begins_without_the_runners_word_nor_where_the_runner_is_no_longer_the_parent() -> None:
    assert directly("echo it ran", runner=os.getpid()).stdout == "it ran\n"
    for unheard in (directly("echo it ran", runner=os.getpid(), word=""), directly("echo it ran", runner=os.getppid())):
        assert unheard.returncode == 1
        assert unheard.stdout + unheard.stderr == ""


async def _living(mark: str, number: int = 1) -> bool:
    return len(living(mark)) == number


async def _untraced(mark: str) -> bool:
    return traces(mark) == []


async def _gone(mark: str) -> bool:
    return living(mark) == []
