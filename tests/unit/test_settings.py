"""Settings are refused at start with what to change."""

import re
from pathlib import Path

import pytest

from appliance.core.errors import SettingsError
from appliance.core.failover_bounds import broken_promise, worst_cases
from appliance.core.settings import load


def test_a_bad_value_names_the_variable_and_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER_AGENT_ID", "agent one")
    with pytest.raises(SettingsError, match="CLUSTER_AGENT_ID: use letters, digits"):
        load()


def test_capabilities_are_words_and_what_is_offered_is_among_them() -> None:
    with pytest.raises(SettingsError, match="CLUSTER_CAPABILITIES: 'big GPU' is no capability: write words"):
        load(cluster_capabilities="web, big GPU")
    config = load(cluster_capabilities="web, gpu,", web_fetch_allow="example.org")
    assert config.capabilities(terminal=True) == ("gpu", "terminal", "web")
    assert load(cluster_capabilities="").capabilities(terminal=False) == ()


def test_a_bound_that_cannot_be_kept_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(SettingsError, match=r"2 x 2\.0 s \+ 0\.5 s = 4\.5 s; set it to 4\.5 or more"):
        load(cluster_election_timeout=3)


def test_the_seeds_two_second_heartbeat_is_accepted() -> None:
    assert load(cluster_heartbeat_interval=2).cluster_heartbeat_interval == 2


def test_a_password_inside_a_url_is_refused_without_being_repeated() -> None:
    with pytest.raises(SettingsError) as refused:
        load(redis_url="redis://:hunter2@localhost:6379")
    assert "REDIS_URL: take the password out" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_secrets_come_from_files_and_are_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "redis_password").write_text("s3cret")
    monkeypatch.setenv("NEXUS_SECRETS_DIR", str(tmp_path))
    settings = load()
    assert settings.redis_password.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(settings)


def test_the_readmes_table_of_settings_is_the_current_one() -> None:
    from appliance.cli.reference import README, with_table

    assert README.read_text() == with_table(README.read_text()), "run: python -m appliance.cli.reference"


def test_the_bounds_of_a_failover_are_sums_of_what_they_name() -> None:
    hang, sole = worst_cases()
    assert (hang.seconds, sole.seconds) == (3.7, 4.5)
    parts = [float(number) for number in re.findall(r" (\d+\.\d+)(?= \+| =)", hang.arithmetic)]
    assert round(sum(parts), 2) == hang.seconds


def test_a_longer_lease_would_break_the_promise_of_five_seconds() -> None:
    assert broken_promise(5.0, worst_cases()) is None
    assert "2 x 2.5 s + 0.5 s = 5.5 s" in (broken_promise(5.0, worst_cases(lease_s=2.5)) or "")
