"""`nexus doctor`: why it is sick, and what mends it."""

import asyncio
import json
from dataclasses import asdict
from typing import Annotated

import typer

from appliance.cli.checks import CHECKS, carry_out, first_port, room_at
from appliance.cli.common import HOME, HomeOption, Place, home_at, make, out
from appliance.cli.patient import Finding, Patient
from appliance.cli.progress import Patience
from appliance.core.errors import CannotStart
from appliance.embedded.places import Home

_SIGNS = {"good": ("✓", "green"), "note": ("!", "yellow"), "bad": ("✗", "red")}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False, home: HomeOption = HOME
) -> None:
    """Look at everything; every ✗ comes with what to do. Exit code 1 when there is one."""
    with Patience("looking"):
        findings = look(home_at(home))
    if as_json:
        out.print_json(json.dumps([asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            show(finding)
    if any(finding.mark == "bad" for finding in findings):
        raise typer.Exit(1)


def look(home: Home) -> list[Finding]:
    """Examine an appliance, or, before its first `up`, what that will meet."""
    try:
        place = Place(home.root)
    except CannotStart as error:
        return [Finding("appliance", "bad", error.detail, make("up", home)), room_at(home), first_port()]
    return asyncio.run(examine(place))


async def examine(place: Place) -> list[Finding]:
    """Make all checks at once, so that one that hangs delays no other; keep their order."""
    patient = Patient.of(place)
    groups = await asyncio.gather(*(carry_out(check, patient) for check in CHECKS))
    return [finding for group in groups for finding in group]


def show(finding: Finding) -> None:
    """Print one line, and the way out under it."""
    sign, colour = _SIGNS[finding.mark]
    out.print(f"  [{colour}]{sign}[/] {finding.name}: ", end="")
    out.print(finding.said, markup=False)
    if finding.advice:
        out.print(f"      → {finding.advice}", style="bold", markup=False)
