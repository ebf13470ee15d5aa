"""Is what was said just now known already? Rules that compare two sentences, and what follows for a memory. Pure.

Nearness alone cannot tell: with the bundled model "server A has 16 GB" lies at 0.012 of "server B has 16 GB", and a
good paraphrase at 0.08. So neighbours are candidates only, and each rule says why it came to its relation. A model may
be asked as well (`Judge`, in the runner); these rules decide where there is none, or none that can be trusted.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import msgspec

from appliance.core.memory.claims import Claim, claim_of
from appliance.core.memory.items import TRUSTS, Closing, How, Item, Memory, Near, fingerprint

Relation = Literal["same", "refines", "contradicts", "different"]
RELATIONS: tuple[Relation, ...] = get_args(Relation)
OPEN = frozenset({"live", "work", "job", "name", "boss", "favourite", "phone", "email", "birthday", "age"})
"""What somebody has one of at a time: another value contradicts."""
CHOSEN = frozenset({"prefer", "answer", "favourite", "planned", "status", *OPEN})
"""What a value of a kind is chosen for: tea or coffee, English or French."""
ATTITUDES = frozenset({"like", "prefer", "want"})
KINDS = frozenset({"status", "length", "shade", "tone", "drink", "colour", "language"})
TIMES = frozenset({"n", "time", "date", "day", "part"})
_HOW: dict[Relation, How] = {"refines": "refined", "contradicts": "contradicted"}
_PREFIX, _SHARE = 4, 0.65
_CLOSE_WORDS = 0.03
"""So near, sentences that share words are the same although each has words of its own."""


class Radii(msgspec.Struct, frozen=True):
    """Cosine distances of one embedding model: within `same` something may be said again in other words; within `wide`
    it can be about the same thing, so that it may contradict it.
    """

    same: float = 0.12
    wide: float = 0.20


class Verdict(msgspec.Struct, frozen=True):
    """How something new relates to something known, and why."""

    relation: Relation
    reason: str


class Decision(msgspec.Struct, frozen=True):
    """What becomes of something new: it is `confirms` said again, or a memory of its own that closes others.

    `overtaken`: what contradicts it was said later, so it is not kept at all.
    """

    confirms: Memory | None = None
    closes: tuple[Closing, ...] = ()
    overtaken: Memory | None = None
    why: str = ""


def decide(item: Item, near: Sequence[Near], verdicts: Sequence[Verdict]) -> Decision:
    """Return what follows from the verdicts on the candidates `near`.

    What is trusted less closes nothing that is trusted more: a web page does not overrule a person.
    """
    judged = [(it.memory, verdict) for it, verdict in zip(near, verdicts, strict=True)]
    why = "; ".join(f"{it.relation}: {it.reason}" for _, it in judged if it.relation != "different")
    later = next((memory for memory, it in judged if it.relation == "contradicts" and _later(memory, item)), None)
    if later is not None:
        return Decision(overtaken=later, why=why)
    confirms = next((memory for memory, it in judged if it.relation == "same"), None)
    closes = tuple(
        Closing(memory.id, _HOW[it.relation]) for memory, it in judged
        if it.relation in _HOW and _rank(item) <= _rank(memory) and not (confirms and it.relation == "refines")
    )  # fmt: skip
    if confirms is not None and _rank(item) < _rank(confirms):  # now by somebody who may be believed
        return Decision(None, (*closes, Closing(confirms.id, "merged")), why=why)
    return Decision(confirms, closes, why=why)


def _rank(it: Item | Memory) -> int:
    """Return the place in the order of trust: 0 is a person's own word."""
    return TRUSTS.index(it.trust)


def _later(memory: Memory, item: Item) -> bool:
    """Whether a memory holds since a moment at which the item had been said already."""
    return item.valid_from is not None and item.valid_from < memory.valid_from


def compare(new: str, old: str, distance: float, radii: Radii) -> Verdict:
    """Return how `new` relates to `old`, which lies at a cosine distance (None of a vector: 0)."""
    if fingerprint(new) == fingerprint(old):
        return Verdict("same", "the same text")
    if distance > radii.wide:
        return Verdict("different", "too far apart")
    pair = _Pair(claim_of(new, old), claim_of(old, new))
    for rule in (_status, _about_others, _alternatives, _order, _polarity, _contained, _topics, _times, _values):
        if (verdict := rule(pair)) is not None:
            return verdict
    return _by_nearness(pair, distance, radii)


class _Pair:
    """Two claims and what each has that the other lacks."""

    def __init__(self, new: Claim, old: Claim) -> None:
        self.new, self.old = new, old
        self.only_new = _lacking(new.tokens, old.tokens)
        self.only_old = _lacking(old.tokens, new.tokens)
        self.common = frozenset(new.tokens) - self.only_new
        self.changed = new.changed

    def extras(self, *kinds: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
        """Return what is left on either side when values of these kinds are put aside."""
        aside = frozenset().union(*kinds)
        return tuple(frozenset(it for it in only if _kind(it) not in aside) for only in (self.only_new, self.only_old))  # type: ignore[return-value]

    def clash(self, kinds: frozenset[str]) -> frozenset[str]:
        """Return the kinds of which each side has a value that the other lacks."""
        return frozenset(map(_kind, self.only_new)) & frozenset(map(_kind, self.only_old)) & kinds


def _kind(token: str) -> str:
    """Return what a token is a value of; '' when it is a word. A month is a date, less exactly."""
    kind, colon, _ = token.partition(":")
    return ("date" if kind == "month" else kind) if colon else ""


def _lacking(some: Sequence[str], others: Sequence[str]) -> frozenset[str]:
    return frozenset(it for it in some if not any(_alike(it, other) for other in others))


def _alike(one: str, other: str) -> bool:
    """Whether two tokens are forms of one word, or one is a month and the other a day in it."""
    if one == other:
        return True
    if one.startswith("month:") and other.startswith("date:"):
        return other.removeprefix("date:").startswith(one.removeprefix("month:"))
    if not (one.isalpha() and other.isalpha()):
        return False
    shared = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return shared >= max(_PREFIX, _SHARE * max(len(one), len(other)))


# The rules, in their order; None: it does not apply. -----------------------------------------------------------------


def _status(pair: _Pair) -> Verdict | None:
    if pair.clash(frozenset({"status"})):
        return Verdict("contradicts", "another status")
    return None


def _about_others(pair: _Pair) -> Verdict | None:
    new, old = pair.new.who, pair.old.who
    if new == old or (new and old and (new <= old or old <= new)):
        return None
    return Verdict("different", f"about {_said(new) or 'oneself'}, not about {_said(old) or 'oneself'}")


def _alternatives(pair: _Pair) -> Verdict | None:
    new, old = pair.new, pair.old
    given_up, had = new.instead_of - set(new.tokens), set(old.tokens) - old.instead_of
    if given_up & had and (not old.instead_of or old.instead_of & set(new.tokens)):
        return Verdict("contradicts", f"now instead of {_said(new.instead_of)}")
    return None


def _order(pair: _Pair) -> Verdict | None:
    """Same names in another order, each sentence beginning with one: who reports to whom."""
    new, old = pair.new, pair.old
    if set(new.names) & set(old.names) and "name" not in pair.common and _is_told_of(new) != _is_told_of(old):
        return Verdict("different", "who does it to whom")
    if len(new.names) < 2 or set(new.names) != set(old.names) or new.names == old.names:
        return None
    if "!and" in new.marks & old.marks or new.tokens[0] not in new.names or old.tokens[0] not in old.names:
        return None
    return Verdict("different", "the same names in other roles")


def _is_told_of(claim: Claim) -> bool:
    """Whether the speaker is the one to whom something is done, by somebody who is named first."""
    return "!me" in claim.marks and claim.tokens[0] in claim.names


def _polarity(pair: _Pair) -> Verdict | None:
    if pair.new.negated == pair.old.negated:
        return None
    if not (pair.only_new and pair.only_old) and _said_of(pair.common):
        return Verdict("contradicts", f"{_said(_said_of(pair.common))}: one says so, the other not")
    return Verdict("different", "one denies something else")


def _contained(pair: _Pair) -> Verdict | None:
    """One says all that the other says."""
    if not pair.common or (pair.only_new and pair.only_old):
        return None
    if not pair.only_new:
        return Verdict("same", f"says nothing new, without {_said(pair.only_old)}" if pair.only_old else "same words")
    return Verdict("refines", f"adds {_said(pair.only_new)}")


def _topics(pair: _Pair) -> Verdict | None:
    """What stands before *is* differs, or one is of work and the other private."""
    if "from" in pair.only_new | pair.only_old and not pair.common & OPEN:
        return Verdict("different", "the other direction")
    subjects = pair.only_new & pair.new.before, pair.only_old & pair.old.before
    if (all(subjects) and not pair.clash(KINDS)) or pair.clash(frozenset({"side"})):
        return Verdict("different", f"about {_said(subjects[0])}, not about {_said(subjects[1])}")
    return None


def _times(pair: _Pair) -> Verdict | None:
    """Only numbers, dates or times differ."""
    clash = pair.clash(TIMES)
    new, old = pair.extras(TIMES)
    if not clash or (new and old):
        return None
    if "!past" in pair.new.marks & pair.old.marks and not pair.changed:
        return Verdict("different", "another time in the past")
    if clash <= {"day", "part"} and not (pair.changed or pair.new.before or "planned" in pair.common):
        return Verdict("different", "on another day, too")
    return Verdict("contradicts", f"another {' and '.join(sorted(clash))}")


def _values(pair: _Pair) -> Verdict | None:
    """One value of a kind, or of something one has one of, stands where another stood."""
    new, old = pair.extras(KINDS, TIMES)
    if clash := pair.clash(KINDS):
        if not (new and old) and (pair.changed or pair.common & CHOSEN):
            return Verdict("contradicts", f"another {' and '.join(sorted(clash))}")
        return Verdict("different", "something else of the same kind")
    if (kept := _one_at_a_time(pair)) and not (pair.clash(TIMES) and not (new and old)):
        return Verdict("contradicts", f"another {_said(kept)}")
    if pair.changed and pair.new.before and not _lacking([*pair.new.before], [*pair.old.before]):
        return Verdict("contradicts", f"{_said(pair.new.before)} is another now")
    if len(new) == len(old) == 1 and (pair.changed or "prefer" in pair.common) and _said_of(pair.common):
        return Verdict("contradicts", f"{_said(new)} instead of {_said(old)}")
    return None


def _one_at_a_time(pair: _Pair) -> frozenset[str]:
    """Return what both say that one has one of, unless one has some of it or only thinks something of it."""
    if "!have" in pair.new.marks & pair.old.marks:
        return frozenset()
    if ATTITUDES & (pair.only_new | pair.only_old):
        return pair.common & {"name"}  # who says "call me rather Alex" has one, too
    return pair.common & OPEN if pair.new.before and pair.old.before else pair.common & OPEN - {"email"}


def _by_nearness(pair: _Pair, distance: float, radii: Radii) -> Verdict:
    near = min(_CLOSE_WORDS, radii.same)
    swapped = len(pair.only_new) == len(pair.only_old) == 1
    if distance <= near and not swapped and not pair.clash(TIMES) and _said_of(pair.common):
        return Verdict("same", f"other words for it, at {distance:.3f}")
    return Verdict("different", f"{_said(pair.only_new)}, not {_said(pair.only_old)}")


def _said_of(tokens: Iterable[str]) -> frozenset[str]:
    """Return the tokens that are more than a verb that takes any value."""
    return frozenset(tokens) - CHOSEN - {"like", "use", "want", "learn", "speak", "drink", "write"}


def _said(tokens: Iterable[str]) -> str:
    return ", ".join(sorted(it.partition(":")[2] or it for it in tokens))
