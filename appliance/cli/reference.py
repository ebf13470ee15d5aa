"""`python -m appliance.cli.reference`: the README's table of settings, generated from the class that reads them."""

from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from appliance.core.settings import Settings

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- settings: generated -->\n", "<!-- end of settings -->"


def table() -> str:
    """Return the Markdown table of all settings."""
    rows = [f"| `{name.upper()}` | {_default(field)} | {field.description} |" for name, field in fields().items()]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows]) + "\n"


def fields() -> dict[str, FieldInfo]:
    """Return every setting by name."""
    return Settings.model_fields


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "generated"
    if isinstance(field.default, SecretStr):
        return "secret"
    return f"`{field.default}`" if field.default != "" else "none"


def with_table(text: str) -> str:
    """Return a README whose table is the current one."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return head + BEGIN + table() + END + tail


if __name__ == "__main__":
    README.write_text(with_table(README.read_text()))
