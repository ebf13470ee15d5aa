"""The house keeps its shape: lengths, one home for keys, no host name of a registry (CONTRIBUTING, "The house")."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = ("appliance", "agent_image", "control_plane")
MAX_FILE, MAX_FUNCTION = 300, 50


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")) if "vendor" not in path.parts]


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or 0) - function.lineno + 1


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def test_no_file_is_longer_than_300_lines() -> None:
    long = [path for path in sources(*PROGRAMS, "tests") if len(path.read_text().splitlines()) > MAX_FILE]
    assert names(long) == []


def test_no_function_is_longer_than_50_lines() -> None:
    long = [f"{path.relative_to(ROOT)}:{f.name}" for path in sources(*PROGRAMS, "tests")
            for f in functions(path) if length(f) > MAX_FUNCTION]  # fmt: skip
    assert long == []


def test_the_median_function_has_at_most_10_lines_and_nine_in_ten_at_most_30() -> None:
    lengths = sorted(length(f) for path in sources(*PROGRAMS) for f in functions(path))
    assert lengths[len(lengths) // 2] <= 10
    assert lengths[len(lengths) * 9 // 10] <= 30


def test_redis_keys_are_named_in_keys_py_only() -> None:
    literal = re.compile(r"""["']f?(nexus:|agent:\{|conv:\{|boot:\{|session:\{)""")
    found = [path for path in sources(*PROGRAMS) if path.name not in ("keys.py", "settings.py")
             and literal.search(path.read_text())]  # fmt: skip
    assert names(found) == []


def test_metrics_are_declared_in_metrics_py_only() -> None:
    declares = re.compile(r"from prometheus_client import .*(Counter|Gauge|Histogram|Summary)")
    found = [path for path in sources(*PROGRAMS) if path.name != "metrics.py" and declares.search(path.read_text())]
    assert names(found) == []


def test_the_environment_is_read_in_settings_only() -> None:
    core = {"appliance/core/settings.py", "appliance/core/failpoints.py"}
    allowed = core | {"appliance/__main__.py", "agent_image/contained.py"}
    runtimes = ("appliance/embedded/", "appliance/containers/", "appliance/cli/")
    found = [name for name in names([p for p in sources(*PROGRAMS) if "os.environ" in p.read_text()])
             if name not in allowed and not name.startswith(runtimes)]  # fmt: skip
    assert found == []


@pytest.mark.parametrize("host", ["pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org", "deb.debian" + ".org"])
def test_no_tracked_file_names_a_registry_host(host: str) -> None:
    found = subprocess.run(
        ["git", "grep", "-lI", host], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    assert found == []


def test_every_redis_function_file_registers_the_function_it_is_named_after() -> None:
    for path in sorted((ROOT / "appliance/core/lua").glob("[a-z]*.lua")):
        registers = re.compile(rf"redis\.register_function\((\{{function_name = )?'{path.stem}'")
        assert registers.search(path.read_text()), path.name
        assert path.read_text().startswith(f"-- {path.stem}("), f"{path.name} opens with its contract"


def test_every_setting_is_documented() -> None:
    from appliance.core.settings import Settings

    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
