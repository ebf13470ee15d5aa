"""How an agent's container is copied: everything of the original but what makes it that one. Pure."""

from typing import Any

PROJECT = "com.docker.compose.project"
NUMBER = "com.docker.compose.container-number"
_OWN = "com.docker.compose.replace"
"""Compose's note that a container took another's place."""
Inspected = dict[str, Any]


def copy_of(source: Inspected, name: str, slot: int) -> dict[str, Any]:
    """Return what Docker is asked to create for `slot`, from what it says of another agent's container."""
    config = dict(source["Config"])
    if source["Id"].startswith(config.get("Hostname", "")):
        config.pop("Hostname", None)  # Docker's own choice for the other one
    config.pop("MacAddress", None)
    config["Labels"] = {key: value for key, value in config["Labels"].items() if key != _OWN} | {NUMBER: str(slot)}
    networks = _networks(source, name)
    first = next(iter(networks), None)
    ends = {first: networks[first]} if first else {}
    return config | {"HostConfig": source["HostConfig"], "NetworkingConfig": {"EndpointsConfig": ends}}


def later_networks(source: Inspected, name: str) -> dict[str, dict[str, Any]]:
    """Return the networks to join after the first: older engines take only one at creation."""
    return dict(list(_networks(source, name).items())[1:])


def _networks(source: Inspected, name: str) -> dict[str, dict[str, Any]]:
    """Return the networks to join, that of the host configuration first, with names but no addresses."""
    own = {source["Id"][:12], source["Name"].removeprefix("/")}
    found = source["NetworkSettings"]["Networks"]
    mode = source["HostConfig"].get("NetworkMode")
    order = sorted(found, key=lambda network: (network != mode, network))
    return {network: {"Aliases": [*_others(found[network], own), name]} for network in order}


def _others(ends: dict[str, Any], own: set[str]) -> list[str]:
    return [alias for alias in ends.get("Aliases") or [] if alias not in own]
