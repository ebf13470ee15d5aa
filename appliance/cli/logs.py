"""`nexus logs`: what programs write, one or all, as it happens."""

import itertools
import time
from pathlib import Path
from typing import Annotated

import typer

from appliance.cli.common import HOME, HomeOption, Place, out
from appliance.core.errors import BadInput

_COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "red")
_LOOK_S = 0.3


def logs(
    who: Annotated[str, typer.Argument(help="One program, for example agent-2; all of them without it.")] = "",
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as it happens.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many of the last lines.")] = 50,
    home: HomeOption = HOME,
) -> None:
    """Show the end of the logs."""
    folder = Place(home).home.logs
    files = sorted(folder.glob(f"{who or '*'}.log"))
    if not files:
        known = ", ".join(sorted(file.stem for file in folder.glob("*.log"))) or "nothing yet"
        raise BadInput(f"There is no log of {who!r}; there are: {known}")
    tails = [
        Tail(file, colour, alone=bool(who)) for file, colour in zip(files, itertools.cycle(_COLOURS), strict=False)
    ]
    for tail in tails:
        tail.show_last(lines)
    while follow:
        for tail in tails:
            tail.show_new()
        time.sleep(_LOOK_S)


class Tail:
    """One file, followed through its rotation."""

    def __init__(self, path: Path, colour: str, *, alone: bool) -> None:
        self._path = path
        self._prefix = "" if alone else f"[{colour}]{path.stem:>14}[/] "
        self._at = 0
        self._rest = ""

    def show_last(self, lines: int) -> None:
        """Print the last lines there are."""
        text = self._path.read_text(errors="replace")
        self._at = self._path.stat().st_size
        self._show(text.splitlines()[-lines:] if lines else [])

    def show_new(self) -> None:
        """Print what came since; from the start when the file was rotated away."""
        if not self._path.exists():
            return
        if self._path.stat().st_size < self._at:
            self._at = 0
        with self._path.open("rb") as file:
            file.seek(self._at)
            new = file.read()
        self._at += len(new)
        *whole, self._rest = (self._rest + new.decode(errors="replace")).split("\n")
        self._show(whole)

    def _show(self, lines: list[str]) -> None:
        for line in lines:
            out.print(self._prefix, end="")
            out.print(line, markup=False)
