"""Values through `encode` and `decode`: what survives, what is refused and how the refusal reads."""

from __future__ import annotations

import collections
import contextlib
import datetime
import decimal
import enum
import json
import math
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grandpa_kfp_runtime.errors import CodecError, RefAttributeError, TraceError
from grandpa_kfp_runtime.values import codecs, files
from grandpa_kfp_runtime.values.codecs import (
    Codec,
    Encoded,
    Parts,
    decode,
    encode,
    is_json_exact,
    register_codec,
    summary,
)
from grandpa_kfp_runtime.values.files import File
from grandpa_kfp_runtime.values.frames import plain
from grandpa_kfp_runtime.values.objects import pack, unpack


class Count(int):
    pass


class Name(str):
    pass


class Colour(enum.Enum):
    RED = "red"


class Pair(NamedTuple):
    a: Any
    b: Any


@dataclass
class Model:
    weights: Any
    name: str = "m"
    extra: dict[str, Any] = field(default_factory=dict)


class Slots:
    __slots__ = ("lock",)

    def __init__(self, lock: Any) -> None:
        self.lock = lock


def through(value: Any, **options: Any) -> Any:
    """The value as a consumer in another process receives it."""
    return decode(unpack(b"".join(pack(encode(value, **options)))), given=True)


def same(a: Any, b: Any) -> bool:
    """Equal in type and value, NaN and the sign of zero included."""
    if type(a) is not type(b):
        return False
    if type(a) is float:
        return math.copysign(1, a) == math.copysign(1, b) and (a == b or (math.isnan(a) and math.isnan(b)))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return bool(a == b)


EXACT = [
    None, True, 0, -1, 2**53 + 1, 10**400, 0.1, -0.0, 5e-324, 1.7976931348623157e308, math.nan, math.inf, -math.inf,
    "", "umlaut ä, emoji 👩‍🔬, {{x}} $$(y) \" \n \r \x00", "\ud83d\ude00", b"", b"\x00\xff", bytearray(b"abc"),
    (), (1,), [(1, 2), [3]], {1: "a", "b": 2, (3, 4): None}, {"b": 1, "a": 2}, {1, 2}, frozenset({3}),
    Count(5), Name("x"), [Count(5), {Name("k"): 1}], Colour.RED, Pair(1, [2]), Model([1]), 1 + 2j,
    decimal.Decimal("1.10"), datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc), range(3), slice(1, 2),
    collections.OrderedDict(b=1), collections.Counter("aab"), len, int, os.path.join, ...,
]  # fmt: skip


@pytest.mark.parametrize("value", EXACT, ids=lambda value: ascii(value)[:30])
def test_a_value_comes_back_exactly(value: Any) -> None:
    assert same(through(value), value)
    assert same(decode(encode(value)), value)


_json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=15,
)


@given(_json_like)
def test_any_nest_of_plain_values_comes_back_exactly(value: Any) -> None:
    assert same(through(value), value)


@given(_json_like)
def test_what_is_json_exact_survives_json(value: Any) -> None:
    """The two directions of is_json_exact: what it accepts survives, what JSON changes it refuses."""
    if is_json_exact(value):
        assert same(json.loads(codecs.json_text(value)), value)
    else:
        with contextlib.suppress(ValueError, TypeError):
            assert not same(json.loads(json.dumps(value, allow_nan=False)), value)


def test_is_json_exact_is_strict() -> None:
    shared: list[int] = [1]
    loop: list[Any] = []
    loop.append(loop)
    for value in [
        (),
        Count(1),
        Name("x"),
        math.nan,
        b"",
        {1: 2},
        {Name("k"): 1},
        [shared, shared],
        loop,
        {1},
        "\ud800",
    ]:
        assert not is_json_exact(value), value
    for good in [None, True, 2**63, -0.0, "ä", [shared, [1]], {"a": {"b": []}}]:
        assert is_json_exact(good), good


def test_sharing_inside_a_value_is_kept() -> None:
    inner: list[int] = [1]
    a, b = through([inner, inner])
    a.append(2)
    assert b == [1, 2]
    big = bytearray(100_000)
    c, d = through([big, big])
    assert c is d


def test_a_value_with_code_in_it_is_refused_by_another_python_before_it_is_unpickled() -> None:
    """A pickle of a code object is one Python minor's; data is anyone's."""
    encoded = encode(lambda x: x)
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert encoded.meta["python"] == here
    with pytest.raises(CodecError, match=rf"code that only Python 3\.2 can read.* this is Python {here}"):
        decode(replace(encoded, meta={**encoded.meta, "python": "3.2"}, frames=(b"no pickle at all",)))
    assert "python" not in encode({"a": (1, 2)}).meta


def test_lambdas_and_closures_come_back() -> None:
    factor = 3
    assert through(lambda x: x * factor)(5) == 15
    assert through({"f": [lambda: factor]})["f"][0]() == 3


def test_a_local_class_comes_back_with_its_instance() -> None:
    class Local:
        def __init__(self) -> None:
            self.x = 7

    assert through(Local()).x == 7


def test_what_lives_in_main_travels_by_value(tmp_path: Path) -> None:
    """An object of a class of `__main__` decodes in a process whose `__main__` is another."""
    (tmp_path / "make.py").write_text(
        "from dataclasses import dataclass\n"
        "from grandpa_kfp_runtime.values.codecs import encode\n"
        "from grandpa_kfp_runtime.values.objects import pack\n"
        "@dataclass\nclass Point:\n    x: int\n"
        "def double(x): return 2 * x\n"
        "data = b''.join(pack(encode([Point(4), double])))\n"
        "open('object', 'wb').write(data)\n"
    )
    (tmp_path / "read.py").write_text(
        "from grandpa_kfp_runtime.values.codecs import decode\n"
        "from grandpa_kfp_runtime.values.objects import unpack\n"
        "point, double = decode(unpack(open('object', 'rb').read()))\n"
        "print(double(point.x))\n"
    )
    subprocess.run([sys.executable, "make.py"], cwd=tmp_path, check=True)
    read = subprocess.run([sys.executable, "read.py"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert read.stdout == "8\n"


# --- arrays and frames of pandas ------------------------------------------------------------------


ARRAYS = [
    np.arange(12.0).reshape(3, 4),
    np.arange(100_000.0),
    np.asfortranarray(np.arange(20_000.0).reshape(100, 200)),
    np.arange(100_000)[::7],
    np.array(["a", None, 3], dtype=object),
    np.array(["2026-01-01"] * 2000, dtype="datetime64[D]"),
    np.zeros(0),
    np.array(5.0),
    np.zeros(3000, dtype=[("a", "i4"), ("b", "f8")]),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_an_array_comes_back_writable_and_the_same(array: np.ndarray) -> None:
    back = through(array)
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)
    if array.size:
        back[...] = back[...]
        assert back.flags.writeable


def test_big_arrays_leave_the_pickle_stream() -> None:
    array = np.random.default_rng(0).random(200_000)
    encoded = encode({"a": [array, array[:1000]]})
    assert encoded.codec == "pickle"
    assert [plain(frame).nbytes for frame in encoded.frames[1:]] == [array.nbytes, 8000]
    assert plain(encoded.frames[0]).nbytes < 1000


def test_a_read_only_array_stays_read_only() -> None:
    array = np.arange(5000.0)
    array.flags.writeable = False
    assert not through(array).flags.writeable


def test_arrays_in_a_stored_object_are_aligned() -> None:
    rng = np.random.default_rng(0)
    first, second = through([rng.random(1001), rng.random(777)])
    assert first.flags.aligned
    assert second.flags.aligned


def test_frames_and_series_of_pandas_come_back() -> None:
    frame = pd.DataFrame(
        {
            "i": range(2000),
            "f": np.linspace(0, 1, 2000),
            "s": ["ä", None] * 1000,
            "t": pd.date_range("2026-01-01", periods=2000, tz="UTC"),
            "c": pd.Categorical(["x", "y"] * 1000),
        },
        index=pd.RangeIndex(5, 2005, name="row"),
    )
    back = through({"frame": frame})["frame"]
    pd.testing.assert_frame_equal(back, frame)
    back.loc[5, "f"] = 9.0
    assert frame.loc[5, "f"] == 0.0
    assert len(encode(frame).frames) > 1
    pd.testing.assert_series_equal(through(frame["f"]), frame["f"])


# --- independence ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (lambda: [1, {"a": [2]}], lambda value: value[1]["a"].append(3)),
        (lambda: [(1,), {"a": [2]}], lambda value: value[1]["a"].append(3)),
        (lambda: bytearray(b"abc"), lambda value: value.extend(b"d")),
        (lambda: {"b": bytearray(100_000)}, lambda value: value["b"].__setitem__(0, 1)),
        (lambda: np.zeros(10), lambda value: value.__setitem__(0, 1)),
        (lambda: np.zeros(100_000), lambda value: value.__setitem__(0, 1)),
        (lambda: Model(np.zeros(100_000)), lambda value: value.weights.__setitem__(0, 1)),
    ],
)
def test_two_values_decoded_from_one_are_independent(make: Callable[[], Any], change: Callable[[Any], None]) -> None:
    original = make()
    encoded = encode(original)
    first = decode(encoded)
    change(first)
    second = decode(encoded)
    assert repr(second) == repr(make()) == repr(original)
    assert repr(first) != repr(second)


def test_owned_frames_do_not_show_later_changes() -> None:
    """Frames may alias the producer's array; `owned` ends that."""
    array = np.zeros(100_000)
    aliasing, owned = encode(array), encode(array).owned()
    array[0] = 1
    assert decode(owned)[0] == 0
    assert decode(aliasing)[0] == 1


def test_big_bytes_are_not_copied_into_the_stream() -> None:
    data = os.urandom(1_000_000)
    encoded = encode({"image": data, "rows": [bytearray(data)]})
    assert encoded.frames[1] is data
    assert plain(encoded.frames[0]).nbytes < 1000
    back = through({"image": data, "rows": [bytearray(data)]})
    assert back == {"image": data, "rows": [bytearray(data)]}
    assert type(back["rows"][0]) is bytearray
    assert encode(data).frames[0] is data


# --- refusals -------------------------------------------------------------------------------------


def _generator() -> Any:
    yield 1


def _with_file(tmp_path: Path) -> Any:
    path = tmp_path / "open.txt"
    path.write_text("x")
    return open(path)  # closed by the test


REFUSED: list[tuple[Callable[[], Any], str, str]] = [
    (_generator, "the generator _generator", "return list(...)"),
    (threading.Lock, "belongs to this process", "make it in the node that uses it"),
    (threading.RLock, "belongs to this process", "make it in the node that uses it"),
    (lambda: memoryview(b"abc"), "a memoryview", "return bytes(...)"),
]


@pytest.mark.parametrize(("make", "what", "fix"), REFUSED)
def test_what_cannot_be_stored_is_named_with_its_place_and_the_fix(
    make: Callable[[], Any], what: str, fix: str
) -> None:
    culprit = make()
    for value, path in [
        (culprit, "result"),
        ([1, 2, {"model": culprit}], 'result[2]["model"]'),
        ((0, Model(culprit)), "result[1].weights"),
        ({"k": Slots([culprit])}, 'result["k"].lock[0]'),
    ]:
        with pytest.raises(CodecError) as caught:
            encode(value)
        message = str(caught.value)
        assert message.startswith(f"{path} cannot be stored: ")
        assert what in message
        assert fix in message


def test_open_files_are_refused(tmp_path: Path) -> None:
    """cloudpickle would store a copy of what was read so far, without a word."""
    with _with_file(tmp_path) as text, open(tmp_path / "open.txt", "rb") as binary:
        for file in (text, binary):
            with pytest.raises(CodecError, match=r'result\["f"\] cannot be stored: an open file .*pathlib\.Path'):
                encode({"f": file})
    with tempfile.NamedTemporaryFile() as wrapped, pytest.raises(CodecError, match="an open file"):
        encode([wrapped])


def test_sockets_are_refused() -> None:
    with socket.socket() as connection, pytest.raises(CodecError, match=r"result\.lock cannot be stored: .*open it in"):
        encode(Slots(connection))


def test_a_coroutine_is_refused() -> None:
    async def work() -> int:
        return 1

    coroutine = work()
    with pytest.raises(CodecError, match="was never awaited"):
        encode([coroutine])
    coroutine.close()


def test_a_lock_inside_a_closure_is_found() -> None:
    lock = threading.Lock()

    def locked() -> bool:
        return lock.locked()

    with pytest.raises(CodecError, match=r"result\[0\] \(the variable lock of .*locked\) cannot be stored"):
        encode([locked])


def test_the_name_of_the_value_is_the_callers() -> None:
    with pytest.raises(CodecError, match=r"^argument x\[0\] cannot be stored"):
        encode([threading.Lock()], name="argument x")


class Ref:
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TraceError("flow.py:7: a Ref is no value")

    def __getattr__(self, name: str) -> Any:
        raise RefAttributeError(f"flow.py:7: a Ref has no {name}")

    def __eq__(self, other: object) -> Any:
        raise TraceError("flow.py:7: a Ref is not compared")

    __hash__ = object.__hash__


@pytest.mark.parametrize("wrap", [lambda ref: ref, lambda ref: [ref], lambda ref: {"a": Model(ref)}, lambda ref: {ref}])
def test_the_trace_error_of_a_ref_passes_as_it_is(wrap: Callable[[Any], Any]) -> None:
    with pytest.raises(TraceError, match=r"^flow\.py:7: a Ref is no value$"):
        encode(wrap(Ref()))


class Broken:
    def __init__(self, when: str) -> None:
        self.when = when

    def __getstate__(self) -> Any:
        if self.when == "store":
            raise KeyError("boom")
        return {"when": self.when}

    def __setstate__(self, state: Any) -> None:
        raise KeyError("no way back")


def test_an_error_of_the_users_own_pickling_is_told() -> None:
    with pytest.raises(CodecError, match=r"result\[0\] cannot be stored: .*Broken.*KeyError: 'boom'"):
        encode([Broken("store")])
    with pytest.raises(CodecError, match=r"cannot be loaded here .KeyError: 'no way back'"):
        through([Broken("load")])


def test_endless_nesting_is_told() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(CodecError, match="nested too deeply"):
        encode(value)
    while value:
        value = value.pop()


def test_a_value_of_a_missing_module_says_what_to_install() -> None:
    from types import ModuleType

    module = ModuleType("gone_module")
    exec("class Thing: pass", module.__dict__)
    sys.modules["gone_module"] = module
    try:
        encoded = encode(module.Thing())
    finally:
        del sys.modules["gone_module"]
    with pytest.raises(CodecError, match=r"gone_module.*include=\[\.\.\.\].*packages=\[\.\.\.\]"):
        decode(encoded)


# --- registered codecs ----------------------------------------------------------------------------


class Celsius:
    def __init__(self, degrees: float) -> None:
        self.degrees = degrees
        self.lock = threading.Lock()  # what pickle could not store


def _encode_celsius(value: Celsius) -> Parts:
    return Parts([str(value.degrees).encode()], {"unit": "C"})


def _decode_celsius(parts: Parts) -> Celsius:
    assert parts.meta == {"unit": "C"}
    parts.frames[0][0:0] = b""  # writable
    return Celsius(float(bytes(parts.frames[0])))


@pytest.fixture(autouse=True)
def celsius() -> None:
    register_codec(Codec("celsius", Celsius, _encode_celsius, _decode_celsius))


def test_a_registered_type_is_stored_by_its_codec() -> None:
    assert encode(Celsius(3.5)).codec == "celsius"
    assert through(Celsius(3.5)).degrees == 3.5


def test_a_registered_type_works_inside_everything() -> None:
    value = {"list": [Celsius(1.0), Celsius(2.0)], "model": Model(Celsius(3.0)), "f": lambda: None}
    back = through(value)
    assert [item.degrees for item in back["list"]] == [1.0, 2.0]
    assert back["model"].weights.degrees == 3.0


def test_one_object_of_a_registered_type_stays_one() -> None:
    one = Celsius(1.0)
    first, second = through([one, one])
    assert first is second


def test_an_unknown_codec_says_what_to_do() -> None:
    with pytest.raises(CodecError, match=r"codec 'never' .* not registered here; call register_codec"):
        decode(Encoded("never", (b"x",)))


def test_a_codecs_name_must_not_be_one_of_ours() -> None:
    with pytest.raises(CodecError, match="'json' cannot be a codec's name"):
        register_codec(Codec("json", Celsius, _encode_celsius, _decode_celsius))


def test_a_worker_imports_the_module_that_registers_a_codec(tmp_path: Path) -> None:
    (tmp_path / "units.py").write_text(
        "from grandpa_kfp_runtime.values.codecs import Codec, Parts, register_codec\n"
        "class Metre:\n    def __init__(self, n): self.n = n\n"
        "def enc(v): return Parts([str(v.n).encode()])\n"
        "def dec(parts): return Metre(int(bytes(parts.frames[0])))\n"
        "register_codec(Codec('metre', Metre, enc, dec))\n"
    )
    make = (
        "import units\n"
        "from grandpa_kfp_runtime.values.codecs import encode\n"
        "from grandpa_kfp_runtime.values.objects import pack\n"
        "open('a', 'wb').write(b''.join(pack(encode(units.Metre(4)))))\n"
        "open('b', 'wb').write(b''.join(pack(encode([units.Metre(5)]))))\n"
    )
    read = (
        "from grandpa_kfp_runtime.values.codecs import decode; from grandpa_kfp_runtime.values.objects import unpack\n"
        "print(decode(unpack(open('a', 'rb').read())).n, decode(unpack(open('b', 'rb').read()))[0].n)\n"
    )
    subprocess.run([sys.executable, "-c", make], cwd=tmp_path, check=True)
    done = subprocess.run([sys.executable, "-c", read], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout == "4 5\n"


# --- class fingerprints ---------------------------------------------------------------------------


def test_classes_that_a_pickle_names_are_fingerprinted() -> None:
    asked: list[type] = []

    def fingerprint(cls: type) -> str | None:
        asked.append(cls)
        return "f1" if cls.__module__ == __name__ else None

    encoded = encode([Model([Pair(1, 2)]), np.zeros(3)], class_fingerprint=fingerprint)
    assert encoded.classes == {f"{__name__}:Model": "f1", f"{__name__}:Pair": "f1"}
    assert np.dtype in asked
    assert unpack(b"".join(pack(encoded))).classes == encoded.classes
    assert encode([Model(1)]).classes == {}


# --- files and folders ----------------------------------------------------------------------------


def test_a_path_is_stored_as_the_file_with_content_name_and_mode(tmp_path: Path) -> None:
    source = tmp_path / "träin.csv"
    source.write_bytes(b"a,b\n1,2\n")
    tool = tmp_path / "tool.sh"
    tool.write_text("#!/bin/sh\necho hello\n")
    tool.chmod(0o755)
    back = through([source, {"tool": tool}])
    assert type(back[0]) is type(source)
    assert back[0] != source
    assert (back[0].name, back[0].read_bytes()) == ("träin.csv", b"a,b\n1,2\n")
    assert not back[0].stat().st_mode & stat.S_IXUSR
    assert subprocess.run([back[1]["tool"]], capture_output=True, text=True, check=True).stdout == "hello\n"
    back[0].write_text("changed")
    assert through(source).read_bytes() == b"a,b\n1,2\n"


@pytest.mark.parametrize("size", [0, 1, 3 * 1024 * 1024 + 5])
def test_files_of_every_size_come_back(tmp_path: Path, size: int) -> None:
    source = tmp_path / "data.bin"
    source.write_bytes(os.urandom(size))
    assert through(source).read_bytes() == source.read_bytes()
    zeros = tmp_path / "zeros.bin"
    zeros.write_bytes(bytes(size))
    assert through(zeros).read_bytes() == bytes(size)


def test_a_decoded_file_lies_in_the_given_scratch_folder(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    first = decode(encode(tmp_path / "a.txt"), scratch=scratch)
    second = decode(encode([tmp_path / "a.txt"]), scratch=scratch)[0]
    assert first != second
    assert {first.parent.parent, second.parent.parent} == {scratch}


def _tree(root: Path, order: int) -> Path:
    entries = [("b/inner.txt", "inner"), ("a.txt", "ä"), ("b/c/deep.txt", "deep"), ("run.sh", "#!/bin/sh\n")]
    for name, text in entries[::order]:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (order + 5, order + 5))
    (root / "empty").mkdir()
    (root / "run.sh").chmod(0o700 if order > 0 else 0o755)
    (root / "link").symlink_to("b/inner.txt")
    return root


def test_a_folder_comes_back_with_all_that_is_in_it(tmp_path: Path) -> None:
    back = through(_tree(tmp_path / "tree", 1))
    assert back.name == "tree"
    found = sorted(path.relative_to(back).as_posix() for path in back.rglob("*"))
    assert found == ["a.txt", "b", "b/c", "b/c/deep.txt", "b/inner.txt", "empty", "link", "run.sh"]
    assert (back / "link").is_symlink()
    assert (back / "link").read_text() == "inner"
    assert (back / "run.sh").stat().st_mode & stat.S_IXUSR
    assert not (back / "a.txt").stat().st_mode & stat.S_IXUSR


def test_the_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    """Dates, order of creation, owners and finer modes are no content."""
    one = b"".join(pack(encode(_tree(tmp_path / "1" / "tree", 1))))
    two = b"".join(pack(encode(_tree(tmp_path / "2" / "tree", -1))))
    assert one == two


def test_the_order_in_which_the_disk_lists_a_folder_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = os.walk

    def backwards(*args: Any, **options: Any) -> Any:
        for folder, folders, names in walk(*args, **options):
            folders.sort(reverse=True)
            yield folder, folders, sorted(names, reverse=True)

    tree = _tree(tmp_path / "tree", 1)
    one = b"".join(pack(encode(tree)))
    monkeypatch.setattr(os, "walk", backwards)
    assert b"".join(pack(encode(tree))) == one


@pytest.mark.parametrize("target", ["../outside.txt", "/etc/hostname", "sub/../../outside.txt"])
def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, target: str) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "bad").symlink_to(target)
    with pytest.raises(CodecError, match=r"result\[0\]: the link bad .* leads out of it; put a copy"):
        encode([folder])


def test_a_missing_path_is_refused() -> None:
    with pytest.raises(CodecError, match=r'result\["p"\]: the path no/where.csv does not exist; .*str\(path\)'):
        encode({"p": Path("no/where.csv")})


def test_the_working_folder_is_not_swallowed_by_accident() -> None:
    for path in (Path("/"), Path.cwd(), Path.home()):
        with pytest.raises(CodecError, match="working or home directory"):
            encode({"root": path})


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CodecError, match="neither a file nor a folder"):
        encode(tmp_path / "pipe")


def test_a_path_of_a_constant_stands_for_itself() -> None:
    assert through([Path("no/where.csv")], files=False) == [Path("no/where.csv")]
    assert through(Path("no/where.csv"), files=False) == Path("no/where.csv")


def test_a_large_file_is_never_whole_in_memory(tmp_path: Path) -> None:
    """256 MiB through encode, store and decode in a process that may have 160 MiB of its own."""
    code = """
import os, resource, sys
from pathlib import Path
from grandpa_kfp_runtime.values.handles import from_handle, to_handle
from grandpa_kfp_runtime.stores.file import FileStore
resource.setrlimit(resource.RLIMIT_DATA, (160 << 20, 160 << 20))
store = FileStore("store")
for name in sys.argv[1:]:
    copy = from_handle(to_handle(Path(name), store), store, scratch=Path("."))
    with open(name, "rb") as a, open(copy, "rb") as b:
        while chunk := a.read(1 << 20):
            assert chunk == b.read(1 << 20)
        assert not b.read(1)
"""
    block = os.urandom(1 << 20)
    with open(tmp_path / "random.bin", "wb") as random, open(tmp_path / "text.csv", "wb") as text:
        for number in range(256):
            random.write(number.to_bytes(4, "little") + block[4:][::-1] if number % 2 else block)
            text.write(b"%d,some,row,of,text\n" % number * 50_000)
    done = subprocess.run(
        [sys.executable, "-c", code, "random.bin", "text.csv"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.returncode == 0


def test_file_names_a_path_beside_the_file_that_calls_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert File("test_codecs.py").path == Path(__file__)
    monkeypatch.chdir(tmp_path)
    assert File("only/here.csv").path == tmp_path / "only" / "here.csv"
    assert File("/abs/x.csv").path == Path("/abs/x.csv")


def test_files_are_equal_by_path_and_fixed() -> None:
    one, two = File("/data/a.csv"), File("/data/sub/../a.csv")
    assert one == two
    assert hash(one) == hash(two)
    assert one != File("/data/b.csv")
    with pytest.raises(AttributeError, match="a File is fixed"):
        one.path = Path("/x")


def test_a_file_reaches_its_consumer_as_a_path(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("1,2")
    file = File(tmp_path / "data.csv")
    for back in (through(file), through({"f": file}, files=False)["f"]):
        assert isinstance(back, Path)
        assert (back.name, back.read_text()) == ("data.csv", "1,2")
    assert str(tmp_path) not in repr(b"".join(pack(encode(file))))


def test_a_missing_file_is_refused_when_its_value_is_needed(tmp_path: Path) -> None:
    file = File(tmp_path / "later.csv")
    with pytest.raises(CodecError, match=r"later\.csv does not exist; File\(\.\.\.\) looks for a relative path"):
        encode(file)


@pytest.mark.parametrize("name", ["../x", "..", "", "a/b"])
def test_a_stored_name_cannot_lead_out_of_the_scratch_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(CodecError, match="cannot be the name of a file"):
        files.decode_path(Parts((b"x",), {"name": name}, tmp_path))


@pytest.mark.parametrize(
    ("name", "link"), [("../x", ""), ("/x", ""), ("l", "../../x"), ("l", "/etc"), ("a//b", ""), ("no/such/x", "")]
)
def test_a_damaged_folder_cannot_write_outside_its_place(tmp_path: Path, name: str, link: str) -> None:
    import io
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = (tarfile.SYMTYPE, link) if link else (tarfile.REGTYPE, "")
        tar.addfile(info)
    with pytest.raises(CodecError, match="leads out of it"):
        files.decode_path(Parts((buffer.getvalue(),), {"name": "t", "folder": True}, tmp_path))


# --- summaries ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.zeros((100, 3)), "ndarray (100, 3) float64"),
        (pd.DataFrame({"a": [1, 2]}), "DataFrame (2, 1)"),
        (pd.Series([1.0]), "Series (1,) float64"),
        ("short", "'short'"),
        ("x" * 5000, "str of 5,000 characters"),
        ([1] * 1200, "list of 1,200"),
        (Model(1), "Model"),
        (Ref(), "Ref"),
        (2**53 + 1, "9007199254740993"),
        (Path("/no/such"), "path such"),
    ],
)
def test_a_summary_is_one_short_line(value: Any, expected: str) -> None:
    assert summary(value) == expected
