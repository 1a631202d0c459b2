"""The code zip: always the same bytes, all that nodes need, and a receiver that believes nothing."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import pickle
import stat
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grandpa_kfp_runtime.code import payload
from grandpa_kfp_runtime.code.payload import Loader, build, node_key, unpack
from grandpa_kfp_runtime.errors import PayloadError

RUNTIME = Path(__file__).parents[2] / "runtime_image"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project on the path; what was imported from it is forgotten at the end."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text("")
    monkeypatch.syspath_prepend(str(project))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield project
    for name in [name for name in sys.modules if name.partition(".")[0].startswith("zz")]:
        del sys.modules[name]


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / (name.replace("__", "/", 1) + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    importlib.invalidate_caches()


def members(zip_bytes: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(zip_bytes)).namelist()


def manifest(zip_bytes: bytes) -> Any:
    return json.loads(zipfile.ZipFile(io.BytesIO(zip_bytes)).read("__grandpa__/manifest.json"))


def rezip(zip_bytes: bytes, **changes: bytes) -> tuple[bytes, str]:
    old = zipfile.ZipFile(io.BytesIO(zip_bytes))
    data = payload.write_zip({**{name: old.read(name) for name in old.namelist()}, **changes})
    return data, hashlib.sha256(data).hexdigest()


NODES = """
    import functools
    from dataclasses import dataclass
    import zz_helper

    NAMES = {"alpha", "beta", "gamma", "delta"}

    def plain(x): return zz_helper.twice(x)

    class Scale:
        def __init__(self, factor): self.factor = factor
        def __call__(self, x): return x * self.factor
        def run(self, x): return self(x)

    def make(factor, names=frozenset({"one", "two", "three"})):
        @dataclass
        class Local:
            size: int = factor
            def grown(self): return Local(self.size + 1)
        def scaled(x):
            if x in {"p", "q", "r"}:
                return sorted(NAMES | names), __name__
            return plain(x) * factor, Local(x).grown().size
        return scaled

    hidden = [make(3), Scale(5).run]
    partial = functools.partial(plain, 4)
    double = lambda x: 2 * x
    scaled = make(4)
    anonymous = [lambda x: x + 1, lambda x: -x]
"""
SCRIPT = """
import sys
import zz_nodes as n
from pathlib import Path
from grandpa_kfp_runtime.code.payload import build, node_key
targets = {"plain": n.plain, "Scale": n.Scale, "scaled": n.scaled, "inner": n.hidden[0], "partial": n.partial,
           "double": n.double,
           "bound": n.hidden[1], "anon": n.anonymous[0]}
keyed = {node_key(target, name): target for name, target in targets.items()}
made = build(keyed, root=Path(sys.argv[1]), include=["data"])
print(made.sha256, sorted(keyed))
"""


def test_the_same_bytes_in_two_hash_seeds_and_two_folders(tmp_path: Path) -> None:
    """Closures, sets, local classes, partials and lambdas among the nodes; the second time from a .pyc."""
    printed = set()
    for seed, name in (("1", "here"), ("2", "there/deeper"), ("3", "here")):
        folder = tmp_path / name
        (folder / "data").mkdir(parents=True, exist_ok=True)
        (folder / "pyproject.toml").touch()
        (folder / "data" / "x.csv").write_text("1,2")
        if not (folder / "zz_nodes.py").exists():
            write(folder, zz_nodes=NODES, zz_helper="def twice(x): return 2 * x\n")
        env = {"PYTHONPATH": f"{RUNTIME}{os.pathsep}{folder}", "PYTHONHASHSEED": seed, "PATH": os.environ["PATH"]}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(folder)], env=env, capture_output=True, text=True, timeout=60, check=True
        )
        printed.add(done.stdout)
    assert len(printed) == 1
    assert printed.pop().split(None, 1)[1].strip() == str(
        [
            "value:anon",
            "value:bound",
            "value:inner",
            "value:partial",
            "zz_nodes:Scale",
            "zz_nodes:double",
            "zz_nodes:plain",
            "zz_nodes:scaled",
        ]
    )


def test_every_kind_of_node_arrives(folder: Path, tmp_path: Path) -> None:
    """By reference and by value, in a process that has nothing but the zip."""
    write(folder, zz_nodes=NODES, zz_helper="def twice(x): return 2 * x\n")
    nodes = importlib.import_module("zz_nodes")
    targets = {name: getattr(nodes, name) for name in ("plain", "Scale", "partial", "double")}
    targets.update(scaled=nodes.hidden[0], bound=nodes.hidden[1])
    keyed = {node_key(target, name): target for name, target in targets.items()}
    made = build(keyed, root=folder)
    unpack(made.zip, made.sha256, tmp_path / "code")
    script = (
        "import sys, json\nfrom grandpa_kfp_runtime.code.payload import Loader\n"
        "load = Loader(sys.argv[1]).load\n"
        "print(json.dumps([load('zz_nodes:plain')(2), load('zz_nodes:Scale')(3)(2), load('value:scaled')(2),"
        "load('value:scaled')('p')[0], load('value:partial')(), load('zz_nodes:double')(4), load('value:bound')(2)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "code")],
        env={"PYTHONPATH": str(RUNTIME), "PATH": os.environ["PATH"]},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    names = ["alpha", "beta", "delta", "gamma", "one", "three", "two"]
    assert done.stderr == ""
    assert json.loads(done.stdout) == [4, 6, [12, 3], names, 8, 8, 10]


def test_the_zip_holds_the_closure_and_nothing_of_libraries(folder: Path) -> None:
    """Modules under their names, packages' __init__, stored, with fixed dates; versions in the manifest."""
    write(
        folder,
        zz_nodes="import click, json\nfrom zz_pkg.deep import low\ndef node(): return low.x\n",
        zz_unused="",
    )
    (folder / "zz_pkg" / "deep").mkdir(parents=True)
    (folder / "zz_pkg" / "__init__.py").touch()
    (folder / "zz_pkg" / "deep" / "low.py").write_text("x = 1\n")
    node = importlib.import_module("zz_nodes").node
    made = build({"zz_nodes:node": node}, root=folder)
    assert members(made.zip) == ["__grandpa__/manifest.json", "zz_nodes.py", "zz_pkg/__init__.py", "zz_pkg/deep/low.py"]
    infos = zipfile.ZipFile(io.BytesIO(made.zip)).infolist()
    assert {(info.date_time, info.compress_type) for info in infos} == {((1980, 1, 1, 0, 0, 0), zipfile.ZIP_STORED)}
    assert hashlib.sha256(made.zip).hexdigest() == made.sha256
    assert list(manifest(made.zip)["distributions"]) == ["click"]
    assert made.modules == ("zz_nodes", "zz_pkg", "zz_pkg.deep.low")


def test_modules_that_only_a_pickle_names_go_along(folder: Path) -> None:
    """The class of a value that a closure holds."""
    write(
        folder,
        zz_kinds="class Kind:\n    size = 7\n",
        zz_nodes="def make(kind):\n    def node(): return kind.size\n    return node\n",
    )
    kind = importlib.import_module("zz_kinds").Kind()
    node = importlib.import_module("zz_nodes").make(kind)
    assert node_key(node, "node") == "value:node"
    assert "zz_kinds.py" in members(build({"value:node": node}, root=folder).zip)


def test_include_takes_files_folders_patterns_and_modules(folder: Path, tmp_path: Path) -> None:
    """Data lies beside the modules that look for it; what is included as a module brings its imports."""
    write(folder, zz_nodes="def node(): pass\n", zz_late="import zz_later\n", zz_later="", zz_plugins__one="")
    (folder / "zz_plugins" / "__init__.py").touch()
    for name in ("data/a.csv", "data/deep/b.bin", "texts/c.txt", "texts/d.md", "words.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    node = importlib.import_module("zz_nodes").node
    made = build(
        {"zz_nodes:node": node},
        root=folder,
        include=["data", "texts/*.txt", Path("words.txt"), "zz_late", "zz_plugins"],
    )
    assert members(made.zip) == [
        "__grandpa__/manifest.json", "data/a.csv", "data/deep/b.bin", "texts/c.txt", "words.txt", "zz_late.py",
        "zz_later.py", "zz_nodes.py", "zz_plugins/__init__.py", "zz_plugins/one.py",
    ]  # fmt: skip
    for wrong, reason in (
        ("gone.csv", "names no file or module"),
        ("../x", "outside the project"),
        ("click", "packages="),
    ):
        with pytest.raises(PayloadError, match=reason):
            build({}, root=folder, include=[wrong])


def test_data_of_a_source_layout_lies_beside_its_modules(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`src/pkg/table.csv` of a module imported as `pkg.nodes` is `pkg/table.csv` in the zip."""
    monkeypatch.syspath_prepend(str(folder / "src"))
    write(folder / "src", zz_src__nodes="def node(): pass\n")
    (folder / "src" / "zz_src" / "__init__.py").touch()
    (folder / "src" / "zz_src" / "table.csv").touch()
    node = importlib.import_module("zz_src.nodes").node
    made = build({"zz_src.nodes:node": node}, root=folder, include=["src/zz_src/table.csv"])
    assert "zz_src/table.csv" in members(made.zip)


def test_keys_are_references_where_import_and_walk_give_the_same_object(folder: Path) -> None:
    """Below a node's mark; by the name of the variable for lambdas; by value otherwise."""
    write(
        folder,
        zz_nodes="""
        class Mark:
            def __init__(self, f): self.f = f
            @property
            def __grandpa_node__(self): return self.f
        @Mark
        def marked(): pass
        named = Mark(lambda: 1)
        class Model:
            def train(self): pass
            @Mark
            def apply(self): pass
        def make():
            def inner(): pass
            return inner
        def replaced(): pass
        old = [replaced]
        def replaced(): pass
        """,
    )
    nodes = importlib.import_module("zz_nodes")
    assert node_key(nodes.marked, "x") == "zz_nodes:marked"
    assert node_key(nodes.marked.f, "x") == "zz_nodes:marked"
    assert node_key(nodes.named.f, "x") == "zz_nodes:named"
    assert node_key(nodes.Model, "x") == "zz_nodes:Model"
    assert node_key(nodes.Model.train, "x") == "zz_nodes:Model.train"
    assert node_key(nodes.Model.apply, "x") == "zz_nodes:Model.apply"
    assert node_key(nodes.make(), "x") == "value:x"
    assert node_key(nodes.old[0], "x") == "value:x"
    with pytest.raises(PayloadError, match="zz_nodes:replaced is not what its module holds"):
        build({"zz_nodes:replaced": nodes.old[0]}, root=folder)
    made = build({"zz_nodes:marked": nodes.marked.f, "zz_nodes:named": nodes.named.f}, root=folder)
    target = folder.parent / "code"
    unpack(made.zip, made.sha256, target)
    with Loader(target) as loader:
        assert loader.load("zz_nodes:marked").__name__ == "marked"
        assert loader.load("zz_nodes:named")() == 1
        assert loader.load("zz_nodes:marked") is not nodes.marked.f
    assert sys.modules["zz_nodes"] is nodes


def test_a_node_that_cannot_travel_is_named_with_the_reason(folder: Path) -> None:
    """A lock in a closure."""
    write(
        folder,
        zz_nodes="import threading\ndef make():\n    lock = threading.Lock()\n"
        "    def node(): return lock\n    return node\n",
    )
    node = importlib.import_module("zz_nodes").make()
    with pytest.raises(
        PayloadError, match="the node keeper cannot travel to a worker: an object of type lock cannot be pickled"
    ):
        build({"value:keeper": node}, root=folder)


@pytest.fixture
def packed(folder: Path) -> payload.Payload:
    write(folder, zz_nodes="def node(): return 1\n")
    return build({"zz_nodes:node": importlib.import_module("zz_nodes").node}, root=folder)


def test_another_hash_is_refused_before_anything_is_written(packed: payload.Payload, tmp_path: Path) -> None:
    """The message names both; one changed byte is enough."""
    changed = packed.zip.replace(b"return 1", b"return 2")
    found = hashlib.sha256(changed).hexdigest()
    with pytest.raises(PayloadError, match=f"{found}, not {packed.sha256}"):
        unpack(changed, packed.sha256, tmp_path / "code")
    assert not (tmp_path / "code").exists()


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "C:/x", "a\\..\\..\\x", "C:x"])
def test_members_that_leave_the_folder_are_refused(packed: payload.Payload, tmp_path: Path, name: str) -> None:
    """Absolute names, `..`, drives, also with the hash right."""
    data, sha256 = rezip(packed.zip, **{name: b"x"})
    with pytest.raises(PayloadError, match="would leave its folder"):
        unpack(data, sha256, tmp_path / "code")
    assert not (tmp_path / "code").exists()


def test_links_are_refused(tmp_path: Path) -> None:
    """A link's target would be written through."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.create_system = 3
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc")
    data = buffer.getvalue()
    with pytest.raises(PayloadError, match="a link or a device"):
        unpack(data, hashlib.sha256(data).hexdigest(), tmp_path / "code")


def test_another_python_minor_is_refused_before_unpickling(packed: payload.Payload, tmp_path: Path) -> None:
    """A node that travels by value; one that travels as source is loaded. Both versions are named."""

    class Explodes:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "unpickled"),)

    here = payload.python_minor()
    content = {**manifest(packed.zip), "python": "3.7"}
    data, sha256 = rezip(
        packed.zip,
        **{
            "__grandpa__/manifest.json": json.dumps(content).encode(),
            "__grandpa__/values/x.pickle": pickle.dumps(Explodes()),
        },
    )
    with Loader(unpack(data, sha256, tmp_path / "code")) as loader:
        with pytest.raises(PayloadError, match=rf"node x travels by value .* Python 3\.7, and this is Python {here}"):
            loader.load("value:x")
        assert loader.load("zz_nodes:node")() == 1
    assert not (tmp_path / "unpickled").exists()


def test_a_damaged_zip_is_one_message(tmp_path: Path) -> None:
    """Bytes that are no zip, though the hash is right."""
    with pytest.raises(PayloadError, match="no zip that can be read"):
        unpack(b"no zip", hashlib.sha256(b"no zip").hexdigest(), tmp_path / "code")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "import zz_gone\n",
            r"zz_nodes\.py:1 imports zz_gone, which is neither in the code nor installed here: "
            r"add include=\[\"zz_gone\"\]",
        ),
        ("import zz_helper\n", r"zz_helper\.py:2 imports zz_lost"),
        ("x = 1\n1 / 0\n", r"ZeroDivisionError at zz_nodes\.py:2: division by zero"),
        ("pass\n", r"zz_nodes has no node"),
    ],
)
def test_a_module_that_cannot_be_loaded_says_where_and_what_to_do(
    folder: Path, tmp_path: Path, source: str, said: str
) -> None:
    """Which import of which module, and how to bring it along."""
    code = tmp_path / "code"
    code.mkdir()
    write(code, zz_nodes=source, zz_helper="x = 1\nimport zz_lost\n")
    with Loader(code) as loader, pytest.raises(PayloadError, match=said):
        loader.load("zz_nodes:node")
    assert str(code) not in sys.path
    sys.modules.pop("zz_nodes", None)


def test_a_distribution_that_is_missing_is_offered_as_a_pin(tmp_path: Path) -> None:
    """The manifest knows the version that the node was packed with."""
    code = tmp_path / "code"
    write(code, zz_nodes="import zz_sklearn.svm\n")
    content = {"imports": {"zz_sklearn": "zz-learn"}, "distributions": {"zz-learn": "1.5"}}
    (code / "__grandpa__").mkdir()
    (code / "__grandpa__" / "manifest.json").write_text(json.dumps(content))
    with Loader(code) as loader, pytest.raises(PayloadError, match=r'packages=\["zz-learn==1\.5"\]'):
        loader.load("zz_nodes:node")


def test_keys_that_are_none_and_values_that_are_not_there(tmp_path: Path) -> None:
    """Each one message."""
    with Loader(tmp_path) as loader:
        with pytest.raises(PayloadError, match="the node gone is not in the code"):
            loader.load("value:gone")
        with pytest.raises(PayloadError, match="'nonsense' is no key of a node"):
            loader.load("nonsense")
        with pytest.raises(PayloadError, match="needs the module zz_nowhere"):
            loader.load("zz_nowhere:node")


def test_values_keep_their_names_whatever_characters_are_in_them(folder: Path, tmp_path: Path) -> None:
    """Blanks, colons and umlauts of a node's name."""
    made = build({"value:größe a:b\\c": lambda: 5}, root=folder)
    unpack(made.zip, made.sha256, tmp_path / "code")
    with Loader(tmp_path / "code") as loader:
        assert loader.load("value:größe a:b\\c")() == 5


def test_an_instance_of_a_local_class_is_one_in_another_node(folder: Path, tmp_path: Path) -> None:
    """Classes that travel by value have an id by their definition, not a random one."""
    write(
        folder,
        zz_nodes="def make():\n    class Local:\n        def f(self): return 1\n"
        "    return (lambda: Local()), (lambda x: isinstance(x, Local))\n",
    )
    produce, check = importlib.import_module("zz_nodes").make()
    made = build({"value:produce": produce, "value:check": check}, root=folder)
    unpack(made.zip, made.sha256, tmp_path / "code")
    with Loader(tmp_path / "code") as loader:
        assert loader.load("value:check")(loader.load("value:produce")())


def test_the_code_travels_in_the_environment(packed: payload.Payload) -> None:
    """base64 of zstd and back, the same text each time; damage is told."""
    text = payload.encode_code_env(packed.zip)
    assert text == payload.encode_code_env(packed.zip)
    assert payload.decode_code_env(text) == packed.zip
    for damaged, said in ((text[:40], "damaged"), ("???", "not base64"), (text[:-8] + "AAAAAAAA", "damaged")):
        with pytest.raises(PayloadError, match=said):
            payload.decode_code_env(damaged)


def test_code_in_parts_is_read_from_the_store(packed: payload.Payload) -> None:
    """`@key,@key`: slices of the compressed zip."""
    from grandpa_kfp_runtime.errors import ObjectGone
    from grandpa_kfp_runtime.launch.task_code import read_code
    from grandpa_kfp_runtime.stores import open_store
    from grandpa_kfp_runtime.values.handles import to_handle

    store = open_store("memory:")
    data = payload.compress(packed.zip)
    parts = [to_handle(data[:50], store, inline_limit=0), to_handle(data[50:], store, inline_limit=0)]
    assert all(part.startswith("@") for part in parts)
    assert read_code(",".join(parts), store) == packed.zip
    with pytest.raises(ObjectGone, match="part 1 of the workflow's code"):
        read_code(",".join(parts), open_store("memory:"))
