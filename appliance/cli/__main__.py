"""`nexus`: registration of the commands, and one place where failures become sentences."""

import logging
import sys

import typer

from appliance.cli.chat import answer, chat
from appliance.cli.common import HOME, HomeOption, home_at, out
from appliance.cli.demo import failover_demo
from appliance.cli.doctor import doctor
from appliance.cli.drain import drain
from appliance.cli.failures import sentence_of
from appliance.cli.history import history
from appliance.cli.link import link
from appliance.cli.logs import logs
from appliance.cli.memory import memory
from appliance.cli.pause import pause, resume
from appliance.cli.scale import scale
from appliance.cli.status import status
from appliance.cli.switchover import switchover
from appliance.cli.task_acts import cancel, discard, requeue
from appliance.cli.tasks import dead, tasks
from appliance.cli.up import down, up
from appliance.cli.versions import everything
from appliance.embedded.config import read_config

app = typer.Typer(
    help="A cluster of LLM agents in one box: kill any of them in mid-answer, and the answer goes on.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    up, down, status, logs, doctor, chat, answer, link, history, drain, switchover, pause, resume, failover_demo,
    tasks, dead, cancel, requeue, discard,
):  # fmt: skip
    app.command(command.__name__.replace("_", "-"))(command)
app.add_typer(memory, name="memory")
# So that -1 is answered like any other number that cannot be.
app.command(context_settings={"ignore_unknown_options": True})(scale)


@app.command()
def version(home: HomeOption = HOME) -> None:
    """Print the versions of everything."""
    for name, found in everything().items():
        out.print(f"{name} {found}", markup=False)
    if config := read_config(home_at(home)):
        out.print(f"runtime {config.runtime} ({len(config.agent_ids)} agents, {config.url})", markup=False)


def main() -> None:
    """Run a command; a foreseeable failure is one sentence and exit code 1."""
    # A library that logs to nobody's handler would write to the terminal.
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        app()
    except KeyboardInterrupt:
        out.print("\nInterrupted.")
        sys.exit(130)
    except Exception as error:
        if (sentence := sentence_of(error)) is None:
            raise
        out.print(f"✗ {sentence}", style="red", markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
