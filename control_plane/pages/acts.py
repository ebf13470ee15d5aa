"""What can be done, in words: each act is shown with what it means before it is done, and as a command."""

import msgspec

from appliance.core.scaling import Preview
from control_plane.queries.agents import AgentRow

DRAIN_S, FREEZE_S = 60, 5


class Field(msgspec.Struct, frozen=True):
    """What the act needs: a number, or a text of at most `most` characters; a hidden one was chosen before."""

    name: str
    value: int | str
    label: str = ""
    least: int = 0
    most: int = 0
    hidden: bool = False
    rows: int = 0
    """Lines that a longer text is given room for; 0: one line."""
    needed: bool = True

    @property
    def is_number(self) -> bool:
        """Whether digits are asked for."""
        return isinstance(self.value, int)


class Act(msgspec.Struct, frozen=True):
    """Something that can be done."""

    title: str
    means: str
    path: str
    """Asked: what it means. Posted: done."""
    button: str
    terminal: str
    back: str = "/control/agents"
    fields: tuple[Field, ...] = ()
    dangerous: bool = False


def drain(row: AgentRow) -> Act:
    """Take an agent out of service."""
    turns = f"Its {row.left} running turn{'s' if row.left > 1 else ''}" if row.left else "Any running turns"
    first = " It is the primary, so it hands its seat over first." if row.is_primary else ""
    return Act(
        f"Drain {row.id}, then stop it",
        f"It takes nothing new.{first} {turns} may end until the deadline; what is left then goes on at another agent. "
        "No turn is lost. It then rests until it is restarted.",
        f"/control/agents/{row.id}/drain",
        "Drain",
        f"nexus drain {row.id} --deadline {DRAIN_S}",
        fields=(Field("deadline_s", DRAIN_S, "Deadline in seconds", 0, 3600),),
    )


def stop(row: AgentRow) -> Act:
    """Stop an agent now."""
    return Act(
        f"Stop {row.id} now",
        "It ends within seconds; its turns go on at the other agents, and people see that. It rests until it is "
        "restarted. Draining it is gentler.",
        f"/control/agents/{row.id}/stop",
        "Stop now",
        f"nexus drain {row.id} --deadline 0",
        dangerous=True,
    )


def restart(row: AgentRow) -> Act:
    """Stop and start an agent."""
    return Act(
        f"Restart {row.id}",
        "It is stopped gently and started again; its turns go on at the other agents. One that rests goes back into "
        "service.",
        f"/control/agents/{row.id}/restart",
        "Restart",
        f"nexus drain {row.id} && nexus up",
    )


def switchover(row: AgentRow) -> Act:
    """Make an agent the primary."""
    return Act(
        f"Switch over to {row.id}",
        f"The primary hands its seat to {row.id} on purpose. It takes a fraction of a second; conversations go on.",
        f"/control/agents/{row.id}/switchover",
        "Switch over",
        f"nexus switchover --to {row.id}",
    )


OF_AN_AGENT = {"drain": drain, "stop": stop, "restart": restart, "switchover": switchover}


def offered(row: AgentRow) -> dict[str, Act]:
    """Return the acts that make sense for an agent as it is; the others would be refused."""
    sensible = {
        "drain": row.state in ("active", "suspected", "starting"),
        "switchover": row.state == "active" and not row.is_primary,
        "restart": True,
        "stop": row.state not in ("left", "stopped", "unknown"),
    }
    return {name: OF_AN_AGENT[name](row) for name, sense in sensible.items() if sense}


def scale(preview: Preview) -> Act:
    """Wish for another number of agents."""
    number = len(preview.wish.slots)
    return Act(
        f"Scale to {number}", preview.sentence, "/control/agents/scale", f"Scale to {number}",
        f"nexus scale {number}", fields=(Field("agents", number, hidden=True),),
    )  # fmt: skip


PAUSE = Act(
    "Pause automatic failover",
    "A dead primary's seat stays empty until somebody resumes: conversations go on, orchestration and recovery wait. "
    "Meant for work on the stores.",
    "/control/failover/pause", "Pause", "nexus pause", back="/control", dangerous=True,
)  # fmt: skip
RESUME = Act(
    "Resume automatic failover", "Dead primaries are replaced again, within a second.",
    "/control/failover/resume", "Resume", "nexus resume", back="/control",
)  # fmt: skip


def freeze(agent_id: str) -> Act:
    """Let nothing of an agent run for a while."""
    return Act(
        f"Freeze {agent_id}",
        "Nothing of it runs for so long: no beat, no answer, no end of its connections. The others have to notice.",
        f"/control/game-day/{agent_id}/freeze", "Freeze",
        f"POST /control/api/v1/agents/{agent_id}/freeze?seconds={FREEZE_S}",
        back="/control/game-day", fields=(Field("seconds", FREEZE_S, "Seconds", 1, 120),), dangerous=True,
    )  # fmt: skip


def kill(agent_id: str) -> Act:
    """End an agent at once."""
    return Act(
        f"Kill {agent_id}",
        "It ends at once (SIGKILL), in the middle of whatever it does; what starts agents starts it again.",
        f"/control/game-day/{agent_id}/kill", "Kill", f"POST /control/api/v1/agents/{agent_id}/kill",
        back="/control/game-day", dangerous=True,
    )  # fmt: skip
