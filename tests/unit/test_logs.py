"""No secret reaches a log (invariant I17)."""

import pytest

from appliance.core.logs import redact


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("redis_password", "hunter2"),
        ("error", "cannot reach redis://:hunter2@localhost"),
        ("path", "/login/hunter2"),
        ("api_key", "hunter2"),
        ("session_token", "hunter2"),
    ],
)
def test_a_secret_is_blanked(name: str, value: str) -> None:
    assert "hunter2" not in str(redact(None, "info", {name: value}))


def test_ordinary_facts_stay() -> None:
    assert redact(None, "info", {"event": "beat", "agent": "agent-1"}) == {"event": "beat", "agent": "agent-1"}
