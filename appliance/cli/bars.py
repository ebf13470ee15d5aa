"""A failover as text: what happened in words, how long each part took as bars. Pure."""

from collections.abc import Iterator

from appliance.core.history import Contender, Failover

Line = tuple[str, str]
"""Text and style; every word of it is in the text."""
_WIDEST, _NARROWEST = 60, 8
_BEFORE_BAR = 31
"""Columns that name and figure take on the line of a bar."""
_EIGHTHS = " ▏▎▍▌▋▊▉"


def lines_of(failover: Failover, *, width: int, ascii_only: bool = False) -> list[Line]:
    """Return a failover for a terminal of `width` columns."""
    return [
        (_title(failover, "->" if ascii_only else "→"), "bold"),
        *([("  SOLE SURVIVOR: it went on without a quorum", "bold yellow")] if failover.sole else []),
        *((line, "cyan") for line in _bars(failover, width, ascii_only=ascii_only)),
        *((f"  {name:<12}{text}", "") for name, text in _facts(failover)),
    ]


def bar(value: float, longest: float, width: int, *, ascii_only: bool = False) -> str:
    """Return a bar of at most `width` columns for `value`; what took any time at all can be seen."""
    eighths = max(1, round(value / longest * width * 8)) if value > 0 else 0
    if ascii_only:
        return "#" * (max(1, eighths // 8) if eighths else 0)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _title(failover: Failover, arrow: str) -> str:
    from_to = f"{failover.old_primary or 'nobody'} {arrow} {failover.new_primary}"
    when = f"{failover.elected_at.astimezone():%Y-%m-%d %H:%M:%S}"
    return f"epoch {failover.epoch}  {when}  {from_to}  {failover.cause}"


def _bars(failover: Failover, width: int, *, ascii_only: bool) -> Iterator[str]:
    columns = min(_WIDEST, max(_NARROWEST, width - _BEFORE_BAR))
    for name, value in failover.parts.items():
        if value is None:
            yield f"  {name:<12}{failover.why_unmeasured(name):>14}"
        else:
            drawn = bar(value, failover.longest_ms, columns, ascii_only=ascii_only)
            yield f"  {name:<12}{_ms(value):>14}  {drawn}".rstrip()


def _facts(failover: Failover) -> Iterator[tuple[str, str]]:
    if failover.total_ms is not None:
        yield "in all", f"{failover.new_primary} served after {_ms(failover.total_ms)}"
    if failover.reason:
        yield "verdict", failover.reason
    yield "votes", _votes(failover)
    for number, contender in enumerate(failover.candidates):
        yield "" if number else "candidates", _standing(contender)
    yield "moved", f"{_count(failover.moved, 'conversation')}, {_count(failover.refused, 'late write')} refused"


def _votes(failover: Failover) -> str:
    if not failover.quorum:
        return "none needed: the seat was handed over"
    return f"{', '.join(failover.voters) or 'nobody'} ({failover.quorum} needed)"


def _standing(contender: Contender) -> str:
    return f"{contender.agent}, score {contender.score}: {contender.lost or 'elected'}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _ms(value: float) -> str:
    return f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"
