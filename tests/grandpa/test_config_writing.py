"""One key set in a configuration: every other line stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from grandpa_kfp.config import read_configuration
from grandpa_kfp.config.writing import set_key
from grandpa_kfp_runtime.errors import ConfigError

GRANDPA = '# ours\nthreads = 2 # few\nimage = "old"\n\n[profile.staging]\nnamespace = "team"\n'


def test_a_key_of_the_project(tmp_path: Path) -> None:
    """Changed where it stands; added on top where it does not."""
    file = tmp_path / "grandpa.toml"
    file.write_text(GRANDPA)
    assert set_key(tmp_path, "image", "new:1") == "grandpa.toml:3"
    assert file.read_text() == GRANDPA.replace('"old"', '"new:1"')
    file.write_text("[profile.staging]\n")
    assert set_key(tmp_path, "image", "new:1") == "grandpa.toml:1"
    assert read_configuration(tmp_path).project["image"].value == "new:1"


def test_a_key_of_a_profile(tmp_path: Path) -> None:
    """Behind the profile's header; an unknown profile is none that is made up."""
    file = tmp_path / "grandpa.toml"
    file.write_text(GRANDPA)
    assert set_key(tmp_path, "image", "new:1", "staging") == "grandpa.toml:6"
    assert read_configuration(tmp_path).profiles["staging"]["image"].value == "new:1"
    assert read_configuration(tmp_path).project["image"].value == "old"
    with pytest.raises(ConfigError, match="stagin"):
        set_key(tmp_path, "image", "new:1", "stagin")


def test_a_project_without_a_configuration_gets_one(tmp_path: Path) -> None:
    """In `grandpa.toml`; what stands in pyproject.toml is not touched."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n')
    assert set_key(tmp_path, "image", "new:1") == "grandpa.toml:1"
    assert (tmp_path / "grandpa.toml").read_text() == 'image = "new:1"\n'
    assert (tmp_path / "pyproject.toml").read_text() == '[project]\nname = "x"\n'


def test_a_configuration_in_pyproject(tmp_path: Path) -> None:
    """In its own table."""
    file = tmp_path / "pyproject.toml"
    file.write_text('[project]\nname = "x"\n\n[tool.grandpa]\nthreads = 2\n\n[tool.other]\nimage = "theirs"\n')
    assert set_key(tmp_path, "image", "new:1") == "pyproject.toml:5"
    assert 'image = "theirs"' in file.read_text()
    assert read_configuration(tmp_path).project["image"].value == "new:1"


def test_a_value_that_no_line_holds_alone_is_left(tmp_path: Path) -> None:
    """An inline table or text over several lines: the user is asked, the file stays."""
    file = tmp_path / "grandpa.toml"
    text = 'profile = { staging = { namespace = "team", image = "old" } }\n'
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"profile\.staging\.image"):
        set_key(tmp_path, "image", "new:1", "staging")
    assert file.read_text() == text
