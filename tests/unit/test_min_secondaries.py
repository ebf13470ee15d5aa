"""When may a new conversation begin? (DESIGN part 15, CLUSTER_MIN_SECONDARIES)"""

import pytest

from appliance.core.health import why_no_new_conversation
from appliance.core.records import Agent, ClusterView, Lease


def cluster_of(*others: Agent, epoch: int = 7, led: bool = True) -> ClusterView:
    primary = Agent(id="p", boot_alive=True, config_epoch=epoch)
    lease = Lease(holder="p", boot="b", epoch=epoch, seq=1) if led else None
    return ClusterView(agents=(primary, *others), generation="g", epoch=epoch, redis_time=0, lease=lease)


def secondary(name: str, *, alive: bool, epoch: int = 7) -> Agent:
    return Agent(id=name, boot_alive=alive, config_epoch=epoch)


def test_a_cluster_that_lost_its_secondaries_in_this_epoch_begins_nothing_new() -> None:
    seen = cluster_of(secondary("a", alive=True), secondary("b", alive=False))
    assert "1 of at least 2" in why_no_new_conversation(seen, 2)
    assert "CLUSTER_MIN_SECONDARIES=0" in why_no_new_conversation(seen, 2)


@pytest.mark.parametrize(
    ("seen", "minimum"),
    [
        pytest.param(cluster_of(secondary("a", alive=True), secondary("b", alive=False)), 1, id="enough are left"),
        pytest.param(cluster_of(secondary("a", alive=False)), 2, id="it never had that many"),
        pytest.param(cluster_of(), 1, id="a single agent that begins"),
        pytest.param(cluster_of(secondary("before", alive=False, epoch=6)), 1, id="lost before this epoch"),
        pytest.param(cluster_of(secondary("a", alive=False), led=False), 1, id="an election is under way"),
        pytest.param(cluster_of(secondary("a", alive=False)), 0, id="lifted"),
        pytest.param(
            cluster_of(secondary("a", alive=False), secondary("new", alive=True, epoch=0)), 1, id="another came"
        ),
    ],
)
def test_otherwise_new_conversations_begin(seen: ClusterView, minimum: int) -> None:
    assert why_no_new_conversation(seen, minimum) == ""
