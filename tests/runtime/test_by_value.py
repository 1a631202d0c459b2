"""Constants that travel by value: the same text in every folder, line and hash seed."""

from __future__ import annotations

import base64
import os
import pickle
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

from grandpa_kfp_runtime.by_value import dump_by_value
from grandpa_kfp_runtime.errors import CodecError, TraceError
from grandpa_kfp_runtime.handles import from_handle, inline_constant
from grandpa_kfp_runtime.stores.memory import MemoryStore

SOURCE = """
import enum
from dataclasses import dataclass
from grandpa_kfp_runtime.handles import inline_constant

LIMITS = {"low", "high", "middle", "none"}

class Kind(enum.Enum):
    A = 1
    B = 2

@dataclass
class Base:
    x: int = 1

class Point(Base):
    kinds = {"p", "q", "r", "s"}
    def norm(self, scale=2):
        return self.x * scale if "low" in LIMITS and Kind.A else super().norm()
    def other(self):
        return Point(self.x + 1)

def make(factor):
    return lambda value: (value * factor, value in {"a", "b", "c", "d"}, Point(value))

print(inline_constant([make(3), Point(4), Kind.B, LIMITS]))
"""


def printed(folder: Path, source: str, seed: str) -> str:
    folder.mkdir()
    (folder / "script.py").write_text(source)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=folder,
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_by_value_constants_are_the_same_text_everywhere(tmp_path: Path) -> None:
    texts = {
        printed(tmp_path / "one", SOURCE, "1"),
        printed(tmp_path / "another", SOURCE, "2"),
        printed(tmp_path / "third", "\n\n# moved down\n" + SOURCE, "3"),
    }
    assert len(texts) == 1
    factory, point, kind, limits = from_handle(texts.pop(), MemoryStore())
    value, member, made = factory(5)
    assert (value, member, made.x, made.norm(), kind.name) == (15, False, 5, 10, "B")
    assert type(made) is type(point)
    assert limits == {"low", "high", "middle", "none"}
    assert point.other().x == 5


def test_no_folder_is_named() -> None:
    local = 3
    data = dump_by_value({"f": lambda: local})
    assert str(Path(__file__).parent).encode() not in data
    assert Path(__file__).name.encode() not in data


def test_another_body_is_another_text() -> None:
    assert dump_by_value(lambda x: x + 1) != dump_by_value(lambda x: x + 2)
    assert dump_by_value(lambda x: x + 1) == dump_by_value(lambda x: x + 1)


def test_a_function_by_value_fails_with_a_traceback_that_can_be_printed() -> None:
    def fail() -> None:
        raise KeyError("inside")

    with pytest.raises(KeyError) as caught:
        pickle.loads(dump_by_value(fail))()
    text = "".join(traceback.format_exception(caught.value))
    assert "in fail" in text
    assert text.endswith("KeyError: 'inside'\n")


def test_two_pickles_of_one_class_decode_to_one_class() -> None:
    class Local:
        pass

    first, second = (pickle.loads(dump_by_value(Local())) for _ in range(2))
    assert type(first) is type(second) is Local


def test_a_class_defined_again_with_other_content_is_another_class() -> None:
    def make(value: int) -> type:
        class Local:
            number = value

        return Local

    one, two = make(1), make(2)
    assert pickle.loads(dump_by_value(one)).number == 1
    assert pickle.loads(dump_by_value(two)).number == 2
    assert pickle.loads(dump_by_value(one)) is one


def test_a_recursive_function_comes_back() -> None:
    def factorial(n: int) -> int:
        return 1 if n < 2 else n * factorial(n - 1)

    assert pickle.loads(dump_by_value(factorial))(5) == 120


def test_a_path_constant_names_no_module_of_one_python() -> None:
    text = inline_constant([Path("/data/in.csv"), {"p": Path("x")}])
    assert from_handle(text, MemoryStore()) == [Path("/data/in.csv"), {"p": Path("x")}]
    assert b"pathlib" not in base64.b64decode(text.rpartition(":")[2])


def test_what_cannot_travel_by_value_is_named() -> None:
    import threading

    lock = threading.Lock()

    with pytest.raises(CodecError, match=r"argument f \(the variable lock of .*\) cannot be stored"):
        inline_constant(lambda: lock, name="argument f")


def test_the_trace_error_of_a_ref_in_a_closure_passes() -> None:
    class Ref:
        def __reduce_ex__(self, protocol: Any) -> Any:
            raise TraceError("flow.py:7: a Ref is no value")

    ref = Ref()
    with pytest.raises(TraceError, match=r"flow\.py:7"):
        inline_constant(lambda: ref)
