"""What Compose is given of one home: variables, settings and secrets, written anew on every `up`."""

import hmac
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from appliance.containers.engine import SOCKET
from appliance.containers.images import Tags
from appliance.containers.places import COMPOSE_FILE, Staged, user_id
from appliance.core.settings import Settings
from appliance.embedded.config import Config, runs_bundled_embedder, runs_bundled_model, shared_settings
from appliance.embedded.places import Home
from appliance.embedded.redis import configuration, users_file
from appliance.embedded.secrets import GENERATED, read_secret, write_private

SERVICES = (
    "postgres", "redis", "model", "embedder", "agent", "broker", "control-plane", "gateway", "prometheus", "grafana",
)  # fmt: skip
"""In the order in which they start."""
_OPTIONAL_SECRETS = ("anthropic_api_key", "embedding_api_key", "grafana_password", "model_api_key", "redis_password")
_STORE_PASSWORDS = {"redis": "redis_password", "postgres": "postgres_password"}
_MODULES = (Path("/usr/local/lib/redis/redisearch.so"), Path("/usr/local/lib/redis/rejson.so"))
HAND_BACK_S = 30
"""An agent that is stopped may take this long beside the time for its turns."""
_HOST = "host.docker.internal"
GRAFANA = "grafana/grafana:12.4.0"
"""Grafana's own image, of the version against whose schema the dashboards are checked."""
_OUTSIDE = ("model_url", "embedding_url", "ollama_url", "redis_url", "postgres_url")
"""Settings that name something outside the project."""


def stage(home: Home, config: Config, tags: Tags) -> None:
    """Write everything that `compose.yaml` refers to."""
    staged = Staged(home)
    staged.secrets.mkdir(parents=True, exist_ok=True, mode=0o700)
    secrets, redis = secrets_of(home, config), _redis_files(home, staged)
    variables = {
        "COMPOSE_PROFILES": ",".join(profiles(config)),
        "COMPOSE_PROJECT_NAME": staged.project,
        "COMPOSE_FILE": os.pathsep.join(map(str, files(home, config))),
        "NEXUS_STAGED": str(staged.folder),
        "NEXUS_PORT": str(config.ports["gateway"]),
        "NEXUS_GRAFANA_PORT": str(config.ports.get("grafana", 0)),
        "NEXUS_USER": str(user_id()),
        "NEXUS_DOCKER_SOCKET": str(SOCKET),
        "NEXUS_DOCKER_GROUP": str(SOCKET.stat().st_gid),
        "NEXUS_AGENT_GRACE": f"{drain_s(config) + HAND_BACK_S}s",
        "NEXUS_SECRETS_MARK": _mark(home, secrets),
        "NEXUS_REDIS_MARK": _mark(home, {str(file): text for file, text in redis.items()}),
        "NEXUS_IMAGE_GRAFANA": GRAFANA,
        **{f"NEXUS_IMAGE_{name.upper().replace('-', '_')}": tag for name, tag in tags.items()},
    }
    write_private(staged.variables, lines(variables))
    write_private(staged.settings, lines({name.upper(): value for name, value in inside(config).items()}))
    for file, text in (redis | {staged.secrets / name: text for name, text in secrets.items()}).items():
        _for_containers(file, text)


def lines(values: dict[str, str]) -> str:
    """Return an environment file that Compose reads as it is meant."""
    # Compose reads single quotes literally: no `$` in a value is taken for a variable.
    quoted = {name: value.replace("'", "\\'") for name, value in values.items()}
    return "".join(f"{name}='{value}'\n" for name, value in quoted.items())


def drain_s(config: Config) -> int:
    """Return the seconds that turns of an agent which ends may go on."""
    default = Settings.model_fields["cluster_drain_timeout"].default
    return int(float(config.settings.get("cluster_drain_timeout", default)))


def keep_store_passwords(home: Home, environment: Mapping[str, str]) -> None:
    """Keep the passwords said in this environment for stores of the user's own; one set to nothing is forgotten."""
    for name in _STORE_PASSWORDS.values():
        value, file = environment.get(name.upper()), home.secrets / f"own_{name}"
        if value:
            write_private(file, value)
        elif value == "":
            file.unlink(missing_ok=True)


def secrets_of(home: Home, config: Config) -> dict[str, str]:
    """Return what our programs are given, by setting; '' for what does not apply to stores of the user's own."""

    def kept(name: str) -> str:
        file = home.secrets / name
        return file.read_text().strip() if file.exists() else ""

    found = {name: kept(name) for name in (*GENERATED, *_OPTIONAL_SECRETS)}
    for store, name in _STORE_PASSWORDS.items():
        if config.is_elsewhere(store):
            found |= {mine: "" for mine in found if mine.startswith(f"{store}_")} | {name: kept(f"own_{name}")}
    return found


def _redis_files(home: Home, staged: Staged) -> dict[Path, str]:
    """Return the configuration of Redis and its users, by file."""
    users = Path("/run/secrets/redis_acl")
    text = configuration(6379, bind="* -::*", users=users, data=Path("/data"), modules=_MODULES)
    return {staged.redis_conf: text + "protected-mode no\n", staged.secrets / users.name: users_file(home)}


def _mark(home: Home, texts: Mapping[str, str]) -> str:
    """Return what changes with the texts and tells nothing of them: containers that read others are made anew."""
    key = read_secret(home.secrets, "cluster_secret").encode()
    return hmac.new(key, json.dumps(sorted(texts.items())).encode(), "sha256").hexdigest()[:16]


def _for_containers(file: Path, text: str) -> None:
    """Write a file that the user of the containers alone may read; one that is not set is empty."""
    if file.exists() and file.read_text() == text:
        return  # containers have it mounted: another file of this name would not reach them
    write_private(file, text)
    if os.geteuid() == 0:
        os.chown(file, user_id(), user_id())


def files(home: Home, config: Config) -> list[Path]:
    """The Compose files of a home: the appliance, and a way out of it where something outside is used."""
    claude = (home.secrets / "anthropic_api_key").exists()
    needs_outside = claude or any(name in config.settings for name in _OUTSIDE)
    return [COMPOSE_FILE, *([COMPOSE_FILE.with_name("outside.yaml")] if needs_outside else [])]


def profiles(config: Config) -> Iterable[str]:
    """The optional services that this home runs itself."""
    own = {store: not config.is_elsewhere(store) for store in ("postgres", "redis")}
    own |= {"model": runs_bundled_model(config), "embedder": runs_bundled_embedder(config)}
    own |= {"grafana": "grafana" in config.ports}
    return [name for name, wanted in own.items() if wanted]


def inside(config: Config) -> dict[str, str]:
    """The settings of our programs as containers see the world."""
    stores = {"redis_url": "redis://redis:6379", "postgres_url": "postgresql://nexus@postgres:5432/nexus"}
    ours = shared_settings(config, "http://model:8080/v1", "http://embedder:8080/v1", stores)
    return {name: _seen_from_inside(value) for name, value in ours.items()} | {
        "public_url": config.url, "control_plane_port": "8081",
    }  # fmt: skip


def _seen_from_inside(value: str) -> str:
    """Return a URL with this machine's loopback replaced by the name that leads here from a container."""
    if "://" not in value or urlsplit(value).hostname not in ("127.0.0.1", "localhost", "::1"):
        return value
    host = urlsplit(value).hostname or ""
    return value.replace(f"[{host}]" if ":" in host else host, _HOST, 1)
