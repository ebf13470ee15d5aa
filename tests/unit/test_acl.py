"""Redis' users on paper: their rules, whose password a program takes, and what an older home becomes."""

from pathlib import Path

import pytest

from appliance.core.acl import USERS, acl_file, may_load, rules
from appliance.core.keys import Keys
from appliance.core.settings import Settings, load
from appliance.embedded import redis
from appliance.embedded.places import Home
from appliance.embedded.secrets import generate_missing, read_secret


def test_everything_is_forbidden_first_and_nobody_but_the_admin_has_a_whole_category() -> None:
    allowed = rules(Keys("nexus:"))
    assert set(allowed) == set(USERS)
    del allowed["admin"]
    for rule in allowed.values():
        words = rule.split()
        assert words[0] == "resetkeys"
        assert {"resetchannels", "-@all"} <= set(words)
        assert not any(word.startswith("+@") or word in ("allkeys", "~*", "&*") for word in words)


def test_only_keepers_write_what_elections_rest_on() -> None:
    keys = Keys("nexus:")
    for user, rule in rules(keys).items():
        writes = {word.removeprefix("~") for word in rule.split() if word.startswith("~")}
        seat = {keys.primary, keys.released, keys.agents, keys.agent("*"), keys.boot("*"), keys.votes("*")}
        assert user in ("keeper", "admin") or not seat & writes, user


def test_the_file_holds_hashes_and_shuts_the_default_user_out() -> None:
    text = acl_file(Keys("nexus:"), {user: f"password of {user}" for user in USERS})
    assert text.startswith("user default off ")
    assert "password" not in text
    assert text.count(" on #") == len(USERS)


@pytest.mark.parametrize(("user", "may"), [("keeper", True), ("runner", False), ("", True), ("customers-own", True)])
def test_who_may_load_the_functions(user: str, may: bool) -> None:
    assert may_load(user) is may


def test_a_program_signs_in_as_its_role_where_there_is_a_secret_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXUS_SECRETS_DIR", str(tmp_path))
    (tmp_path / "redis_password").write_text("for all")
    assert _login(load("runner")) == ("", "for all")
    (tmp_path / "redis_runner_password").write_text("runner's\n")
    assert _login(load("runner")) == ("runner", "runner's")
    assert _login(load("gateway", redis_user="customers-own")) == ("customers-own", "for all")


def _login(settings: Settings) -> tuple[str, str]:
    return settings.redis_user, settings.redis_password.get_secret_value()


def test_a_home_from_before_gets_users_and_its_redis_is_started_anew_when_their_rules_change(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "home").create()
    (home.secrets / "redis_password").write_text("old")
    generate_missing(home.secrets)
    assert not (home.secrets / "redis_password").exists()
    redis.configure(home, 1)
    first = redis.redis(home, 1)
    redis.configure(home, 1)
    assert redis.redis(home, 1).env == first.env, "nothing changed: `up` leaves it alone"
    redis.configure(home, 1, prefix="other:")
    assert redis.redis(home, 1).env != first.env
    assert read_secret(home.secrets, "redis_keeper_password") not in str(first)
