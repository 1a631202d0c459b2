"""What belongs to a project, how its modules are called, where they are found."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from grandpa_kfp_runtime.code.distributions import distribution_of
from grandpa_kfp_runtime.code.imports import Locator, closure
from grandpa_kfp_runtime.code.project import (
    find_root,
    import_base,
    is_library_file,
    is_project_file,
    is_project_module,
    module_name_for,
)
from grandpa_kfp_runtime.errors import PayloadError


@pytest.mark.parametrize("mark", ["pyproject.toml", "grandpa.toml", ".git"])
def test_the_root_is_the_nearest_marked_folder_upward(tmp_path: Path, mark: str) -> None:
    """Without any mark it is the script's own folder."""
    script = tmp_path / "a" / "b" / "pipeline.py"
    script.parent.mkdir(parents=True)
    script.touch()
    assert find_root(script) == script.parent
    assert find_root(script.parent) == script.parent
    (tmp_path / mark).touch()
    assert find_root(script) == tmp_path
    (tmp_path / "a" / mark).touch()
    assert find_root(script) == tmp_path / "a"


def test_module_names_are_dotted_from_the_root() -> None:
    """A package's __init__ has the package's name; a file outside the root its own."""
    assert module_name_for("/p/flows/deep/train.py", "/p") == "flows.deep.train"
    assert module_name_for("/p/flows/__init__.py", "/p") == "flows"
    assert module_name_for("/elsewhere/train_it.py", "/p") == "train_it"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("my-pipeline.py", "grandpa_main_my_pipeline"),
        ("2024-runs/train.py", "grandpa_main_train"),
        ("class/train.py", "grandpa_main_train"),
        ("types.py", "grandpa_main_types"),
        ("test/train.py", "grandpa_main_train"),  # the standard library has a package `test`
        ("click.py", "grandpa_main_click"),
        ("click/train.py", "grandpa_main_train"),
        ("grandpa_kfp/train.py", "grandpa_main_train"),
        ("__main__.py", "grandpa_main___main__"),
        ("grün.py", "grün"),
    ],
)
def test_illegal_and_hiding_names_become_grandpa_main(file: str, name: str) -> None:
    """What cannot be imported, or would hide the standard library's or a distribution's module."""
    assert module_name_for(f"/p/{file}", "/p") == name


def test_libraries_are_never_the_projects_own(tmp_path: Path) -> None:
    """Also where an environment lies inside the project; our own packages neither."""
    inside = tmp_path / ".venv" / "lib" / "python3.12" / "site-packages" / "x.py"
    assert is_library_file(str(inside))
    assert not is_project_file("x", str(inside))
    assert not is_project_file("json", str(sys.modules["json"].__file__))
    assert not is_project_file("grandpa_kfp.authoring.nodes", str(tmp_path / "grandpa_kfp" / "nodes.py"))
    assert not is_project_file("fast", str(tmp_path / "fast.so"))
    assert is_project_file("train", str(tmp_path / "train.py"))


def test_a_loaded_module_is_asked_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the root, or by way of an editable install's entry of the path; nowhere else."""
    module = type(sys)("train")
    module.__file__ = str(tmp_path / "p" / "train.py")
    assert is_project_module(module, tmp_path / "p")
    assert is_project_module(module)
    assert not is_project_module(module, tmp_path / "q")
    monkeypatch.syspath_prepend(str(tmp_path / "p"))
    assert is_project_module(module, tmp_path / "q")
    assert not is_project_module(pytest)


def test_the_base_is_the_folder_to_import_from() -> None:
    """A script under a name of our making is imported from its own folder."""
    assert import_base("a.b", Path("/p/a/b.py"), False) == Path("/p")
    assert import_base("a.b", Path("/p/a/b/__init__.py"), True) == Path("/p")
    assert import_base("grandpa_main_x", Path("/p/deep/x.py"), False) == Path("/p/deep")


def test_distributions_are_named_with_versions() -> None:
    """Also where module and distribution have different names."""
    from importlib.metadata import version

    assert str(distribution_of("yaml")).lower() == f"pyyaml=={version('pyyaml')}"
    assert str(distribution_of("click")) == f"click=={version('click')}"
    assert distribution_of("no_such_module_at_all").version == ""


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / (name.replace("__", "/", 1) + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_the_closure_holds_what_is_imported_within_the_project(tmp_path: Path) -> None:
    """At the top, in functions, relative, by literal name, star imports of packages; with packages around."""
    write(
        tmp_path,
        zz_start="import zz_one\nimport json, click\ndef f():\n    from zz_pkg import inner\n    import zz_gone\n"
        "from importlib import import_module\nimport_module('zz_two')\n",
        zz_one="import zz_start\n",
        zz_two="from zz_star import *\n",
        zz_unused="",
        zz_pkg__inner="from . import beside\nfrom .deep.low import x\n",
        zz_pkg__beside="",
        zz_pkg__other="",
        zz_star__a="",
        zz_star__b="",
    )
    (tmp_path / "zz_pkg" / "__init__.py").write_text("")
    (tmp_path / "zz_pkg" / "deep").mkdir()
    (tmp_path / "zz_pkg" / "deep" / "low.py").write_text("x = 1\n")  # a namespace package: no __init__
    (tmp_path / "zz_star" / "__init__.py").write_text("__all__ = ['a', 'c']\n")
    before = set(sys.modules)
    found = closure(["zz_start"], Locator([str(tmp_path)]))
    assert sorted(found.modules) == [
        "zz_one", "zz_pkg", "zz_pkg.beside", "zz_pkg.deep.low", "zz_pkg.inner", "zz_star", "zz_star.a", "zz_start",
        "zz_two",
    ]  # fmt: skip
    assert list(found.outside) == ["click"]
    assert found.missing == {"zz_start": {"zz_gone"}}
    assert set(sys.modules) == before


def test_a_module_that_does_not_parse_is_named_with_its_line(tmp_path: Path) -> None:
    """File and line, as an editor opens them."""
    write(tmp_path, zz_bad="x = 1\ndef f(:\n")
    with pytest.raises(PayloadError, match=r"zz_bad\.py:2: a module of the project cannot be parsed"):
        closure(["zz_bad"], Locator([str(tmp_path)]))
