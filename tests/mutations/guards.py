"""All guards."""

from tests.mutations.authority import DECISION, EPOCH, LEASE, SEAT, VOTES
from tests.mutations.embeddings import EMBEDDINGS
from tests.mutations.fleet import FLEET
from tests.mutations.memories import MEMORIES
from tests.mutations.memory_index import MEMORY_INDEX
from tests.mutations.promotion import PROMOTION
from tests.mutations.recall import RECALL
from tests.mutations.schedules import SCHEDULES
from tests.mutations.sessions import SESSIONS
from tests.mutations.task_acts import TASK_ACTS
from tests.mutations.tasks import TASKS
from tests.mutations.terminal import TERMINAL
from tests.mutations.tools import TOOLS
from tests.mutations.work import DOORS, EVENTS, LIFE, WORK

GUARDS = (
    *EPOCH, *VOTES, *LEASE, *DECISION, *SEAT, *WORK, *EVENTS, *LIFE, *DOORS, *FLEET, *TASKS, *TOOLS, *TERMINAL,
    *SCHEDULES, *TASK_ACTS, *MEMORIES, *MEMORY_INDEX, *EMBEDDINGS, *SESSIONS, *PROMOTION, *RECALL,
)  # fmt: skip
