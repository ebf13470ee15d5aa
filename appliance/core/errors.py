"""The tree of errors. A docstring is the message a user reads; data are attributes; `status` is the HTTP status.

NexusError
├── BadInput 400
│   └── TooLarge 413
├── Unauthenticated 401
├── Forbidden 403
├── NotFound 404
├── Conflict 409
│   ├── StaleEpoch          a newer primary exists
│   ├── StaleAttempt        the work belongs to a later attempt
│   ├── NoAttempt           Redis does not know the attempt: re-read the row, open it again
│   └── DuplicateAgent      another live process uses this agent id
├── Overloaded 429
├── StoreAway 503           Redis or PostgreSQL does not answer: catch this for "try again soon"
│   ├── NoGeneration        Redis lost its data and is not initialised yet
│   ├── NoIndex             the search index is not there: PostgreSQL is searched, keepers make it again
│   └── StoreDenies         Redis denies it to this program's user: its rules, or whoever asks, are wrong
├── Leaving 503             this agent is being stopped: another one takes it
├── TooFewAgents 503        no new conversation may begin now: the detail says what lifts it
├── NotIsolated 503         a command had no box to run in, so it was not run
├── CannotStart             the appliance cannot run here: the detail says what mends it
├── SettingsError           refused at start, with what to change
│   └── StoreUnfit          a store's version or modules do not serve
├── EmbedderAway 503        texts cannot be turned into vectors now: catch this for "search by words, make it up later"
│   └── EmbedderRefused     it rejects this request; asking again would not help
└── ModelError 502          a model call failed: catch this for "fall back"
    ├── ModelAway           it cannot be reached
    ├── ModelBusy           it said 429 or 503
    ├── ModelRefused        it rejects this request; asking again would not help
    ├── ModelSilent         it answers nothing for too long
    └── ModelBroke          it stopped in the middle of an answer
"""

from typing import ClassVar


class NexusError(Exception):
    """Something went wrong inside Nexus."""

    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    audited: bool = False
    """Whether the audit log tells of it already."""

    def __init__(self, detail: str = "", **data: object) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.data = data
        facts = ", ".join(f"{name}={value}" for name, value in data.items())
        super().__init__(f"{self.detail} ({facts})" if facts else self.detail)

    @property
    def title(self) -> str:
        """One sentence for people, the same for every error of this kind."""
        return (type(self).__doc__ or "").strip()


class BadInput(NexusError):
    """The request cannot be understood or accepted as it is."""

    status = 400


class TooLarge(BadInput):
    """The request is larger than Nexus accepts."""

    status = 413


class Unauthenticated(NexusError):
    """You are not signed in, or your sign-in has ended."""

    status = 401


class Forbidden(NexusError):
    """You may not do this."""

    status = 403


class NotFound(NexusError):
    """There is nothing here, or it is not yours."""

    status = 404


class Conflict(NexusError):
    """This was overtaken by something newer."""

    status = 409


class StaleEpoch(Conflict):
    """A newer primary has taken over; this write was refused."""


class StaleAttempt(Conflict):
    """Another attempt of this work is the current one; this write was refused."""


class NoAttempt(Conflict):
    """Redis does not know this attempt."""

    retryable = True


class DuplicateAgent(Conflict):
    """Another live process already runs under this agent id."""


class Overloaded(NexusError):
    """Too much is waiting already; try again in a moment."""

    status = 429
    retryable = True


class StoreAway(NexusError):
    """A store of the cluster does not answer; nothing accepted is lost, try again in a moment."""

    status = 503
    retryable = True


class NoGeneration(StoreAway):
    """Redis is empty and is being set up again."""


class NoIndex(StoreAway):
    """The index of memories is not there; it is made again from PostgreSQL by itself."""


class StoreDenies(StoreAway):
    """Redis denies this to the user the program signed in as; `ACL LOG` in Redis tells more."""


class Leaving(NexusError):
    """This agent is being stopped; the others serve you."""

    status = 503
    retryable = True


class TooFewAgents(NexusError):
    """Too few agents can be reached to begin a new conversation; existing ones go on."""

    status = 503
    retryable = True


class NotIsolated(NexusError):
    """The command was not run: it could not be kept apart from everything else here."""

    status = 503


class CannotStart(NexusError):
    """The appliance cannot be started as things are."""


class SettingsError(NexusError):
    """A setting cannot be used."""


class StoreUnfit(SettingsError):
    """A store's version or modules do not serve Nexus."""


class EmbedderAway(NexusError):
    """The embedding server gives no usable answer; search goes by words meanwhile, try again in a moment."""

    status = 503
    retryable = True


class EmbedderRefused(EmbedderAway):
    """The embedding server rejects this request; EMBEDDING_URL, EMBEDDING_MODEL or EMBEDDING_API_KEY may be wrong."""

    retryable = False


class ModelError(NexusError):
    """The model call failed."""

    status = 502
    retryable = True


class ModelAway(ModelError):
    """The model server cannot be reached."""


class ModelBusy(ModelError):
    """The model server has no capacity at the moment."""


class ModelRefused(ModelError):
    """The model server rejects this request."""

    retryable = False


class ModelSilent(ModelError):
    """The model server accepted the request and then said nothing."""


class ModelBroke(ModelError):
    """The model server stopped in the middle of its answer."""
