"""What others wrote is served as they published it."""

import re

import pytest

from appliance.web.rendering import ROOT
from appliance.web.vendor import FOLDER, digest, manifest

FILES = [(name, file) for package in manifest().values() for name, file in package["files"].items()]


@pytest.mark.parametrize(("name", "file"), FILES)
def test_a_vendored_file_is_unchanged(name: str, file: dict[str, str]) -> None:
    assert digest((FOLDER / name).read_bytes()) == file["sha256"]


def test_every_vendored_file_is_listed_with_where_it_comes_from_and_its_licence() -> None:
    there = {path.name for path in FOLDER.iterdir()} - {"VENDOR.toml"}
    assert there == {name for name, _ in FILES}
    for package in manifest().values():
        assert {"version", "npm", "licence", "files"} <= package.keys()


def test_no_template_holds_a_script_a_style_or_an_event_handler() -> None:
    inline = re.compile(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", re.IGNORECASE)
    checkout = ROOT.parents[1]
    rooms = [checkout / name for name in ("appliance", "agent_image", "control_plane")]
    templates = [path for room in rooms for path in room.rglob("templates/*.html")]
    assert templates
    assert [path.name for path in templates if inline.search(path.read_text())] == []
