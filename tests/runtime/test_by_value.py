"""Constants that travel by value: the same text in every folder, line and hash seed."""

from __future__ import annotations

import ast
import base64
import os
import pickle
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

from grandpa_kfp_runtime.errors import CodecError, PayloadError, TraceError
from grandpa_kfp_runtime.stores.memory import MemoryStore
from grandpa_kfp_runtime.values.by_value import dump_by_value, dumps
from grandpa_kfp_runtime.values.codecs import Codec, Parts, register_codec
from grandpa_kfp_runtime.values.handles import from_handle, inline_constant

SOURCE = """
import enum
from dataclasses import dataclass
from grandpa_kfp_runtime.values.handles import inline_constant

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


def printed(folder: Path, source: str, seed: str, *arguments: str) -> str:
    folder.mkdir()
    (folder / "script.py").write_text(source)
    done = subprocess.run(
        [sys.executable, "script.py", *arguments],
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


CLASSES = """
import sys
from typing import Generic, TypeVar
from grandpa_kfp_runtime.values.by_value import dump_by_value, dumps
from grandpa_kfp_runtime.values.handles import inline_constant
from cloudpickle import cloudpickle

T = TypeVar("T")

class Left(Generic[T]):
    names = {"a", "b", "c", "d"}
    def other(self):
        return Right()

class Right:
    def other(self):
        return Left()

how = sys.argv[1]
for cls in (Left, Right) if how != "right first" else (Right, Left):
    if how == "constant":
        inline_constant(cls())
    else:
        dumps(lambda: cls, lines=True)
print([cloudpickle._DYNAMIC_CLASS_TRACKER_BY_CLASS[item] for item in (Left, Right, T)])
"""


def test_a_class_has_one_id_in_constants_and_nodes_whichever_comes_first(tmp_path: Path) -> None:
    texts = {
        printed(tmp_path / "one", CLASSES, "1", "constant"),
        printed(tmp_path / "two", CLASSES, "2", "node"),
        printed(tmp_path / "three", "# moved down\n" + CLASSES, "3", "right first"),
    }
    assert len(texts) == 1
    ids = ast.literal_eval(texts.pop())
    assert len(set(ids)) == 3
    assert all(item.startswith("grandpa-") for item in ids)


def test_an_instance_in_a_constant_is_one_of_the_class_that_a_node_carries(tmp_path: Path) -> None:
    source = """
import base64
from grandpa_kfp_runtime.values.by_value import dumps
from grandpa_kfp_runtime.values.handles import inline_constant

class Point:
    limits = {"low", "high"}

def node(value):
    return type(value) is Point, isinstance(value, Point)

print(base64.b64encode(dumps(node, lines=True)[0]).decode(), inline_constant(Point()))
"""
    node, constant = printed(tmp_path / "made", source, "1").split()
    assert pickle.loads(base64.b64decode(node))(from_handle(constant, MemoryStore())) == (True, True)


def test_a_class_is_known_by_what_a_registered_codec_stores_of_its_attributes() -> None:
    class Sealed:
        def __init__(self, text: str) -> None:
            self.text = text

        def __reduce__(self) -> Any:
            raise TypeError("only its codec can store it")

    register_codec(
        Codec(
            "sealed",
            Sealed,
            encode=lambda value: Parts([value.text.encode()]),
            decode=lambda parts: Sealed(bytes(parts.frames[0]).decode()),
        )
    )

    def make(text: str) -> type:
        class Holder:
            held = Sealed(text)

        return Holder

    one, again, other = (identity_of(inline_constant(make(text)())) for text in ("a", "a", "b"))
    assert one == again != other


def identity_of(constant: str) -> str:
    data = base64.b64decode(constant.rpartition(":")[2])
    start = data.index(b"grandpa-")
    return data[start : start + 40].decode()


def test_equal_strings_are_written_once_whether_or_not_they_are_one_object() -> None:
    text = "two words"
    copy = " ".join(["two", "words"])
    assert copy is not text
    assert dump_by_value([text, copy, {text}]) == dump_by_value([text, text, {copy}])
    assert inline_constant(({"s"}, text, copy)) == inline_constant(({"s"}, text, text))


def test_a_function_keeps_its_lines_from_its_own_first_one_where_they_are_asked_for() -> None:
    def fail() -> None:
        # a line of its own

        raise KeyError("inside")

    def line(data: bytes) -> int:
        with pytest.raises(KeyError) as caught:
            pickle.loads(data)()
        return traceback.extract_tb(caught.value.__traceback__)[-1].lineno or 0

    assert line(dumps(fail, lines=True)[0]) == 4
    assert line(dumps(fail)[0]) == 1


def test_what_cannot_travel_to_a_worker_is_named_with_its_holder() -> None:
    import threading

    lock = threading.Lock()

    class Holder:
        held = lock

    with pytest.raises(PayloadError, match=r"the node n cannot travel to a worker: an object of type lock cannot be"):
        dumps(lambda: Holder, of="the node n")
