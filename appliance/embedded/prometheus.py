"""Prometheus, if the machine has it: the customer's own rules and targets, on loopback, data in the home."""

import hashlib
import json
import shutil

from appliance.embedded.config import LOOPBACK, Config
from appliance.embedded.places import CHECKOUT, Home
from appliance.embedded.programs import Program, answers
from appliance.embedded.secrets import write_private

NAME = "prometheus"
HOW_TO_GET_IT = "Metrics are not collected: install Prometheus (sudo apt-get install prometheus), then `make up`."
SOURCES = CHECKOUT / "compose" / "prometheus"
RULES = ("recording.yml", "alerts.yml")


def binary() -> str | None:
    """Where the program is; None when it is not installed."""
    return shutil.which(NAME)


def configuration(addresses: dict[str, str], rules: dict[str, str]) -> str:
    """Return `prometheus.yml` with other addresses and files in place of those it has for containers.

    Raises:
        ValueError: a name is not in it any more.
    """
    text = (SOURCES / "prometheus.yml").read_text()
    for name, other in (addresses | rules).items():
        if name not in text:
            raise ValueError(f"prometheus.yml does not name {name}")
        text = text.replace(name, other)
    return text


def configure(home: Home, config: Config) -> str:
    """Write the configuration of a home and return what tells it from another."""
    ports = {"control-plane:8081": "control-plane", "gateway:8082": "gateway-metrics", "localhost:9090": NAME}
    addresses = {name: f"{LOOPBACK}:{config.ports[ours]}" for name, ours in ports.items()}
    # A string of JSON is one of YAML, whatever stands in a path.
    rules = {f"- {rule}": f"- {json.dumps(str(SOURCES / rule))}" for rule in RULES}
    text = configuration(addresses, rules)
    write_private(home.run / "prometheus.yml", text)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def prometheus(home: Home, config: Config) -> list[Program]:
    """The program, if it is installed."""
    if (found := binary()) is None:
        return []
    listen = f"{LOOPBACK}:{config.ports[NAME]}"
    kept = ("--storage.tsdb.retention.time=15d", "--storage.tsdb.retention.size=1GB")
    return [
        Program(
            name=NAME,
            argv=(
                found,
                f"--config.file={home.run / 'prometheus.yml'}",
                f"--storage.tsdb.path={home.data / NAME}",
                *kept,
                f"--web.listen-address={listen}",
                "--log.level=warn",
            ),
            cwd=home.run,
            # It reads its configuration only when it starts: another one is another program.
            env={"NEXUS_CONFIGURATION": configure(home, config)},
            check=answers(f"http://{listen}/-/ready"),
        )
    ]
