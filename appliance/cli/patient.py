"""What all checks of `nexus doctor` share: one reading of the programs and settings, and what a check says."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from appliance.cli.common import Place, make
from appliance.core.settings import Settings
from appliance.embedded.config import is_free
from appliance.embedded.lifecycle import Service
from appliance.embedded.processes import holder_of_port

_LAST_WORDS = 300
Mark = Literal["good", "note", "bad"]


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, and what to do."""

    name: str
    mark: Mark
    said: str
    advice: str = ""


class Patient:
    """What all checks share: one reading of the programs, and of the settings."""

    def __init__(self, place: Place, services: dict[str, Service]) -> None:
        self.place = place
        self.services = services

    @classmethod
    def of(cls, place: Place) -> "Patient":
        """Read the programs once."""
        return cls(place, {service.name: service for service in place.runtime.services(place.home)})

    @cached_property
    def settings(self) -> Settings:
        """The settings all programs are started with; SettingsError when one is refused."""
        return self.place.settings

    def make(self, command: str) -> str:
        """Return the command that mends something here."""
        return make(command, self.place.home)

    def logs(self, name: str) -> str:
        """Return the command that shows what a program wrote."""
        return self.make(f"logs A={name}")

    def runs(self, name: str) -> bool:
        """Whether a program is there, be it frozen."""
        return name in self.services and self.services[name].pid > 0

    def why_dead(self, name: str) -> Finding | None:
        """Say that a program is stopped, frozen or not there, and who sits on its port; None when it runs."""
        service = self.services.get(name)
        if service is None and self.place.config.is_elsewhere(name):
            return None
        if service is None or not self.runs(name):
            state = service.state if service else "not set up"
            stranger = self.stranger_on(name)
            taken = f"; its port {self.place.config.ports[name]} is taken by {stranger}" if stranger else ""
            last = "" if state == "stopped" else self.place.runtime.log_tail(self.place.home, name, 1)
            said = f"{name} does not run ({state}{taken})" + (f"; its last words: {last[:_LAST_WORDS]}" if last else "")
            return Finding(name, "bad", said, f"{self.make('up')}   (its log: {self.logs(name)})")
        if service.state == "frozen":
            return Finding(name, "bad", f"{name} is frozen (pid {service.pid})", service.thaw)
        return None

    def stranger_on(self, name: str) -> str | None:
        """Name who listens on the port of a program that does not run; None when it is free."""
        port = self.place.config.ports.get(name)
        return None if port is None or is_free(port) else holder_of_port(port) or "another program"


Check = Callable[[Patient], Awaitable[list[Finding]]]
