"""`nexus logs`: what programs write, one or all, as it happens."""

import itertools
import time
from pathlib import Path
from typing import Annotated

import typer

from appliance.cli.common import HOME, HomeOption, Place, out
from appliance.cli.runtime import DOCKER
from appliance.containers.running import show_logs
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
    place = Place(home)
    if place.runtime is DOCKER:
        return show_logs(place.home, who, lines=lines, follow=follow)
    folder = place.home.logs
    files = files_of(folder, who)
    if not files:
        known = ", ".join(file.stem for file in files_of(folder)) or "nothing yet"
        raise BadInput(f"There is no log of {who!r}; there are: {known}")
    colours, tails = itertools.cycle(_COLOURS), {}
    for file in files:
        tails[file] = Tail(file, next(colours), alone=bool(who))
        tails[file].show_last(lines)
    while follow:
        # A program that was added meanwhile is followed as well.
        for file in files_of(folder, who):
            if file not in tails:
                tails[file] = Tail(file, next(colours), alone=bool(who))
            tails[file].show_new()
        time.sleep(_LOOK_S)
    return None


def files_of(folder: Path, who: str = "") -> list[Path]:
    """Return the log of one program, or of all of them; a name is a name, never a path or a pattern."""
    return sorted(file for file in folder.glob("*.log") if who in ("", file.stem))


class Tail:
    """One file, followed through its rotation."""

    def __init__(self, path: Path, colour: str, *, alone: bool) -> None:
        self._path = path
        self._prefix = "" if alone else f"[{colour}]{path.stem:>14}[/] "
        self._at = 0
        self._rest = b""

    def show_last(self, lines: int) -> None:
        """Print the last lines there are."""
        whole = self._take(self._path, 0)
        self._show(whole[-lines:] if lines else [])

    def show_new(self) -> None:
        """Print what came since; through a rotation, which copies the file to `.1` and empties it."""
        if not self._path.exists():
            return
        if self._path.stat().st_size < self._at:
            older = self._path.with_name(f"{self._path.name}.1")
            self._show(self._take(older, self._at) if older.exists() else [])
            self._at = 0
        self._show(self._take(self._path, self._at))

    def _take(self, path: Path, start: int) -> list[bytes]:
        """Read on from `start` and return the whole lines; half of one waits for its end."""
        with path.open("rb") as file:
            file.seek(start)
            new = file.read()
        self._at = start + len(new)
        *whole, self._rest = (self._rest + new).split(b"\n")
        return whole

    def _show(self, lines: list[bytes]) -> None:
        for line in lines:
            out.print(self._prefix, end="")
            out.print(line.decode(errors="replace"), markup=False)
