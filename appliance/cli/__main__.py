"""`nexus`: registration of the commands, and one place where failures become sentences."""

import asyncio
import sys

import typer

from appliance.cli.chat import chat
from appliance.cli.common import HOME, HomeOption, Place, new_link, out
from appliance.cli.demo import failover_demo
from appliance.cli.doctor import doctor
from appliance.cli.logs import logs
from appliance.cli.status import status, version_of
from appliance.cli.up import down, up
from appliance.core.errors import NexusError
from appliance.core.redis import library_version
from appliance.core.version import VERSION

app = typer.Typer(
    help="A cluster of LLM agents in one box: kill any of them in mid-answer, and the answer goes on.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (up, down, status, logs, doctor, chat, failover_demo):
    app.command(command.__name__.replace("_", "-"))(command)


@app.command()
def link(home: HomeOption = HOME) -> None:
    """Print a new sign-in link: it works once, for 15 minutes."""
    out.print(asyncio.run(new_link(Place(home))), markup=False)


@app.command()
def version() -> None:
    """Print the versions of everything."""
    out.print(f"nexus {VERSION}")
    for name in ("postgres", "redis", "model", "supervisor"):
        out.print(f"{name} {version_of(name)} (package)")
    out.print(f"redis functions {library_version()}")


def main() -> None:
    """Run a command; a foreseeable failure is one sentence and exit code 1."""
    try:
        app()
    except NexusError as error:
        out.print(f"✗ {error.detail}", style="red", markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        out.print("\nInterrupted.")
        sys.exit(130)


if __name__ == "__main__":
    main()
