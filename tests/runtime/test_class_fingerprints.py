"""Which classes and functions have fingerprints that objects carry, and what asking costs."""

from __future__ import annotations

import datetime
import functools
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grandpa_kfp_runtime.code import class_fingerprints
from grandpa_kfp_runtime.code.class_fingerprints import class_fingerprint
from grandpa_kfp_runtime.code.loader import MANIFEST, Loader
from grandpa_kfp_runtime.values.codecs import Codec, Parts, encode, register_codec

SOURCE = """
from grandpa_kfp import Node

class Base:
    limit = 1

class Model(Base):
    class Inner:
        pass

    def fit(self, x):
        return x

def double(x):
    return 2 * x

@Node
def node(x):
    return double(x)

def make(n):
    class Local(Base):
        number = n
    return Local()

class Unhashable(type):
    def __eq__(cls, other):
        return cls is other

class Odd(metaclass=Unhashable):
    pass
"""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "cf_models.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("cf_models")
    sys.modules.pop("cf_models", None)


def classes(value: Any) -> list[str]:
    encoded = encode(value, class_fingerprint=class_fingerprint)
    assert all(len(found) == 64 for found in encoded.classes.values())
    return sorted(encoded.classes)


def test_objects_name_the_projects_classes_and_functions(models: Any) -> None:
    """Bare, nested, as methods, in partials, below a node."""
    assert classes(models.Model()) == ["cf_models:Model"]
    assert classes({"a": [models.Model.Inner()]}) == ["cf_models:Model.Inner"]
    assert classes(models.Model().fit) == ["cf_models:Model"]
    assert classes(functools.partial(models.double, 2)) == ["cf_models:double"]
    assert classes([models.node]) == ["cf_models:node"]
    assert classes((models.Model, int)) == ["cf_models:Model"]


def test_others_have_none() -> None:
    """Of the standard library, of installed distributions, our own."""
    for value in ([datetime.date(2024, 1, 1)], np.zeros(3), [np.float64(1)], Parts(), functools.partial(len)):
        assert classes(value) == []


def test_what_travels_by_value_is_its_content(models: Any) -> None:
    """A class inside a function is in the pickle; the base that the pickle names is not."""
    assert class_fingerprint(type(models.make(1))) is None
    assert classes(models.make(1)) == ["cf_models:Base"]


def test_a_value_of_a_registered_codec_carries_its_class(models: Any) -> None:
    register_codec(
        Codec("cf-model", models.Model, encode=lambda value: Parts([b"x"]), decode=lambda parts: models.Model())
    )
    assert classes(models.Model()) == classes([models.Model()]) == ["cf_models:Model"]


def test_a_base_class_counts(models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = class_fingerprint(models.Model)
    (tmp_path / "cf_models.py").write_text(SOURCE.replace("limit = 1", "limit = 2"))
    monkeypatch.delitem(sys.modules, "cf_models")
    assert class_fingerprint(importlib.import_module("cf_models").Model) not in (before, None)


def test_each_class_is_looked_at_once(models: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that is not the project's."""
    found = class_fingerprint(models.Model)
    assert class_fingerprint(datetime.date) is None

    def never(value: Any) -> Any:
        raise AssertionError(value)

    monkeypatch.setattr(class_fingerprints, "_is_project", never)
    assert class_fingerprint(models.Model) == found
    assert class_fingerprint(datetime.date) is None


def test_a_class_whose_metaclass_has_no_hash_has_one_too(models: Any) -> None:
    assert class_fingerprint(models.Odd) == class_fingerprint(models.Odd) is not None


def test_source_that_is_being_changed_says_nothing(models: Any, tmp_path: Path) -> None:
    """The value can still be stored."""
    (tmp_path / "cf_models.py").write_text("def half(")
    assert classes(models.Model()) == []


def test_in_a_container_the_project_is_what_the_zip_brought(models: Any, tmp_path: Path) -> None:
    """Other modules on the path are the image's."""
    folder = tmp_path / "code"
    folder.mkdir()
    members = {"cf_inside.py": b"class Model:\n    pass\n", MANIFEST: b'{"modules": ["cf_inside"]}'}
    for name, data in members.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    with Loader(folder) as loader:
        inside = loader.load("cf_inside:Model")
        assert loader.class_fingerprint(inside) is not None
        assert loader.class_fingerprint(models.Model) is None
        assert class_fingerprint(models.Model) is not None
