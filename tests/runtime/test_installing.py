"""What decides which archive of packages a task takes, and what the failure of pip becomes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from grandpa_kfp_runtime.errors import PackagesError, PayloadError
from grandpa_kfp_runtime.launch import installing, pip
from grandpa_kfp_runtime.stores.memory import MemoryStore


def test_the_archive_is_named_after_all_that_decides_what_pip_installs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And after no password."""
    record = installing.record_path
    plain = record(["a", "b"], "https://host/simple", {})
    assert plain == record(["b", "a"], "https://ann:secret@host/simple", {"HOME": "/home/ann"})
    with_index = record(["a", "b"], "", {"PIP_INDEX_URL": "https://ann:secret@host/simple"})
    assert with_index == record(["a", "b"], "", {"PIP_INDEX_URL": "https://ben:other@host/simple"})
    others = [record(["a"], "https://host/simple", {}), record(["a", "b"], "", {}), with_index]
    (tmp_path / "new-1.0.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])  # another image
    others.append(record(["a", "b"], "https://host/simple", {}))
    monkeypatch.setattr(installing.sysconfig, "get_config_var", lambda name: "cpython-399")
    others.append(record(["a", "b"], "https://host/simple", {}))
    assert len({plain, *others}) == len(others) + 1


@pytest.mark.parametrize("text", ["[", "{}", '"numpy"', "[1]", '["a\\n--index-url x"]'])
def test_a_list_that_is_none_is_a_fault_of_the_payload(text: str, tmp_path: Path) -> None:
    with pytest.raises(PayloadError, match="GRANDPA_PACKAGES"):
        installing.provide({"GRANDPA_PACKAGES": text}, MemoryStore(), tmp_path, print)


def test_a_python_without_pip_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "_base_executable", "/bin/false")
    with pytest.raises(PackagesError, match="has no pip to install them with"):
        pip.pip_python()


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("ERROR: No matching distribution found for a", "trying again will not help"),
        ("WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError'", "retries= tries again"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "no room for them"),
    ],
)
def test_advice_follows_what_went_wrong(
    output: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last lines of what pip said, without credentials and without our own folder's name."""
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\nseq 100 130\necho 'Looking in indexes: https://ann:secret22@h'\necho \"{output}\"\n"
                    f"echo https://ann:secret22@host/a {tmp_path}/new/lib; exit 2\n")  # fmt: skip
    fake.chmod(0o755)
    monkeypatch.setattr(pip, "pip_python", lambda: str(fake))
    with pytest.raises(PackagesError) as caught:
        pip.install(["a==1 --hash=sha256:00"], "", tmp_path / "new", {})
    text = str(caught.value)
    assert text.startswith("a==1 cannot be installed: pip ended with exit code 2\n")
    assert output in text
    assert advice in text.splitlines()[-1]
    assert "https://host/a lib" in text
    assert "100" not in text.splitlines()[1]
    assert "secret22" not in text
