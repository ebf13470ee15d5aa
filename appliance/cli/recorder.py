"""What a tab sees of a kill, with times, and whether that is what was committed."""

from typing import Any, Protocol

from appliance.cli.chat import taken_over
from appliance.cli.common import out

Event = dict[str, Any]


class Patient(Protocol):
    """Is told that something was printed."""

    what: str

    def spoke(self) -> None:
        """Something was printed."""


class Recorder:
    """Notes a tab's events; prints those that matter in milliseconds since the kill."""

    def __init__(self, patience: Patient | None = None) -> None:
        self._patience = patience
        self._away = False
        self._last_token_ms: int | None = None
        self.killed_ms: int | None = None
        self.cursors: list[str] = []
        self.texts: dict[int, str] = {}
        self.first_new_ms: int | None = None
        self.final = ""
        self.tokens = 0
        self.missed = 0
        self.text_differs = False

    @property
    def doubled(self) -> int:
        """Events that came twice."""
        return len(self.cursors) - len(set(self.cursors))

    @property
    def text(self) -> str:
        """What stands in the tab: the words of the newest attempt."""
        return self.texts.get(max(self.texts, default=0), "")

    def killed(self, at_ms: int) -> None:
        """The agent was killed: times count from here."""
        self.killed_ms = at_ms

    def note(self, event: Event) -> None:
        """Record an event and print what matters."""
        if cursor := event.get("cursor"):
            self.cursors.append(cursor)
        self.final = event["type"]
        match event["type"]:
            case "token":
                self._token(event)
            case "snapshot" if event.get("turn"):
                self.texts[event.get("attempt", 0)] = event["text"]
            case "lost":
                self._lost(event)
            case "connected":
                self._say(event, "connected again" if self._away else "connected")
                self._away = False
            case "started":
                self._say(event, f"{event['agent']} begins")
            case "attempt_restarted":
                gap_s = max(0, event["gap_ms"]) / 1000
                self._say(event, f"{taken_over(event)} after {gap_s:.2f} s without an event; the answer begins again")
            case "done":
                self._say(event, f"answer complete: {event['length']} characters by {event['agent']}")
            case "failed" | "retrying":
                self._say(event, event["reason"])

    def _token(self, event: Event) -> None:
        attempt = event.get("attempt", 0)
        self.tokens += 1
        self.texts[attempt] = self.texts.get(attempt, "") + event["text"]
        self._last_token_ms = event["at_ms"]
        if self._patience:
            self._patience.what = f"the answer goes on, {self.tokens} tokens,"
        if self.killed_ms is not None and attempt > 1 and self.first_new_ms is None:
            self.first_new_ms = event["at_ms"] - self.killed_ms
            self._say(event, "first new words")

    def _lost(self, event: Event) -> None:
        """Say once that the stream ended, however often it is tried in vain."""
        if self._away:
            return
        self._away = True
        if self._last_token_ms is not None:
            self._say({"at_ms": self._last_token_ms}, "last word of the old stream")
        self._say(event, f"the stream is {event['why']}")

    def _say(self, event: Event, words: str) -> None:
        """Print one line with its time: before the kill since the question, afterwards since the kill."""
        at = event["at_ms"] - (self.killed_ms or 0)
        sign = "" if self.killed_ms is None else "+" if at >= 0 else "-"
        out.print(f"  {sign:>3} {abs(at):>6} ms  {words}", markup=False)
        if self._patience:
            self._patience.spoke()


def verdict_of(recorder: Recorder, recorded: list[Event], committed: str) -> list[str]:
    """Compare what the tab saw with what the cluster kept; return what is off, in words."""
    kept = [event["cursor"] for event in recorded if event.get("cursor")]
    recorder.missed = len(set(kept) - set(recorder.cursors))
    recorder.text_differs = recorder.text != committed
    found = {
        f"it ended with {recorder.final!r}": recorder.final != "done",
        f"{recorder.missed} events lost": recorder.missed > 0,
        f"{recorder.doubled} events doubled": recorder.doubled > 0,
        "events out of order": [cursor for cursor in recorder.cursors if cursor in set(kept)] != kept
        and not recorder.missed
        and not recorder.doubled,
        "the text differs from the committed message": recorder.text_differs,
        "no new words came after the kill": recorder.first_new_ms is None,
    }
    return [words for words, off in found.items() if off]
