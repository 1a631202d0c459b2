"""The code zip: everything of the project that its nodes need, in one file that is always the same bytes.

`build` makes it (for `grandpa_kfp.packing`), `node_key` says how a worker finds a node in it, the encoded
form travels in a container's environment. The receiving side is `loader`, whose names stand here too.

Inside: modules under their names (`flows/train.py`), data files, `__grandpa__/values/NAME.pickle` for
nodes that travel by value, and `__grandpa__/manifest.json`.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import io
import json
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contract import ENV_CODE, VALUE
from ..errors import PayloadError
from ..values.by_value import dumps
from .imports import Closure, Located, Locator, closure
from .included import Included, read_include
from .loader import MANIFEST, Loader, python_minor, unpack, value_member
from .marks import importable, unmarked, walk
from .project import is_project_module, main_file, real_name
from .source import read_bytes

if TYPE_CHECKING:
    pass

FORMAT = 1
"""Version of the zip's layout; the manifest carries it."""

_DATE = (1980, 1, 1, 0, 0, 0)
_LEVEL = 19  # code is small and compressed once; every KFP task carries it


@dataclass(frozen=True, slots=True)
class Payload:
    """A code zip. zip: its bytes, not compressed; sha256: over them, hex; python: the minor, `3.12`.

    modules: the project's modules in it; outside: top-level module -> distribution and version that they
    import; missing: module -> imports of it that nothing provides here.
    """

    sha256: str
    zip: bytes = field(repr=False)
    python: str
    modules: tuple[str, ...] = ()
    outside: tuple[tuple[str, str], ...] = ()
    missing: tuple[tuple[str, tuple[str, ...]], ...] = ()


def node_key(target: Any, name: str) -> str:
    """How a worker finds a callable: `module:qualname` where it can be imported, else `value:NAME`.

    name: what it is called if it travels by value; the caller sees to it that no two share one. It can be
    imported where importing the module and walking to the name gives the same object, a node's mark taken
    off. A script that runs as `__main__` has its name in the project; a notebook's `__main__` has none.

    >>> node_key(json.dumps, "dumps"), node_key(lambda x: x, "double")
    ('json:dumps', 'value:double')
    """
    plain = unmarked(target)
    module = getattr(plain, "__module__", None)
    qualname = getattr(plain, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str):
        return VALUE + name
    live = sys.modules.get(module)
    if live is None or (module == "__main__" and main_file() is None):
        return VALUE + name
    found = walk(live, qualname)
    if found is not None and unmarked(found) is plain:
        return f"{real_name(module)}:{qualname}"
    for attribute, value in list(vars(live).items()):  # `double = Node(lambda x: 2 * x)`
        if type(value) not in _PLAIN and unmarked(value) is plain and attribute.isidentifier():
            return f"{real_name(module)}:{attribute}"
    return VALUE + name


_PLAIN = (type, type(sys), str, int, float, dict, list, tuple)


def build(
    nodes: Mapping[str, Any],
    *,
    root: Path,
    include: Included | Iterable[str | Path] = (),
    modules: Iterable[str] = (),
    uses: Mapping[str, Sequence[str]] | None = None,
    locator: Locator | None = None,
) -> Payload:
    """The zip of the nodes' code: the import closure of their modules within the project.

    nodes: key -> callable; root: the project's; include: data files, folders, patterns (relative to the
    root) and dotted names of further modules; modules: others that the worker needs, by name;
    uses: key -> the outside distributions without which the node cannot run, which the worker checks.
    Raises PayloadError for a node that cannot travel, a module that cannot be read, an include that
    names nothing.
    """
    locator = Locator([str(root)]) if locator is None else locator
    add_main(locator)
    values, roots = _values(nodes)
    roots |= {key.partition(":")[0] for key in nodes if not key.startswith(VALUE)}
    roots |= {real_name(name) for name in modules}
    included = include if isinstance(include, Included) else read_include(include, root, locator)
    found = closure(sorted({name for name in roots if locator.is_own(name)} | {*included.modules}), locator)
    members = {_member(item): read_bytes(item.file) for item in found.modules.values() if item.file is not None}
    members.update(_data(included, found))
    members.update(values)
    members[MANIFEST] = _manifest(
        found, [key.removeprefix(VALUE) for key in nodes if key.startswith(VALUE)], uses or {}
    )
    data = write_zip(members)
    return Payload(
        hashlib.sha256(data).hexdigest(),
        data,
        python_minor(),
        tuple(sorted(found.modules)),
        tuple(sorted((name, str(distribution)) for name, distribution in found.outside.items())),
        tuple(sorted((name, tuple(sorted(names))) for name, names in found.missing.items())),
    )


def add_main(locator: Locator) -> None:
    """Lets the locator know the running script under its name in the project."""
    file = main_file()
    if file is not None:
        locator.add(real_name("__main__"), file)


def _values(nodes: Mapping[str, Any]) -> tuple[dict[str, bytes], set[str]]:
    """Members of the nodes that travel by value, and the modules that their pickles name."""
    members: dict[str, bytes] = {}
    modules: set[str] = set()
    for key, target in nodes.items():
        if key.startswith(VALUE):
            name = key.removeprefix(VALUE)
            members[value_member(name)], found = dumps(unmarked(target), of=f"the node {name}", lines=True)
            modules |= {real_name(module) for module in found}
        elif target is not None:
            _check_reference(key, target)
    return members, modules


def _check_reference(key: str, target: Any) -> None:
    """Import, walk, same object; a worker could call another function of that name otherwise."""
    module, _, qualname = key.partition(":")
    homes = ["__main__"] if module == real_name("__main__") else []  # a running script, and its copy by that name
    try:
        if not homes:
            importlib.import_module(module)
    except ImportError as error:
        raise PayloadError(f"the node {key} cannot be imported: {error}") from error
    plain = unmarked(target)
    found = [walk(sys.modules.get(name), qualname) for name in (module, *homes)]
    if not any(item is not None and unmarked(item) is plain for item in found):
        raise PayloadError(
            f"the node {key} is not what its module holds under that name ({found[0]!r}): give each node a "
            "name of its own"
        )


def _member(module: Located) -> str:
    path = module.name.replace(".", "/")
    return f"{path}/__init__.py" if module.is_package else f"{path}.py"


def _data(included: Included, found: Closure) -> dict[str, bytes]:
    """Data files where the modules that look for them beside `__file__` find them."""
    bases = sorted(
        {item.base for item in found.modules.values() if item.file is not None},
        key=lambda base: (-len(base.parts), str(base)),
    )
    members: dict[str, bytes] = {}
    for file, data in included.files:
        base = next((base for base in bases if file.is_relative_to(base)), included.root)
        members[file.relative_to(base).as_posix()] = data
    return members


def _manifest(found: Closure, values: Iterable[str], uses: Mapping[str, Sequence[str]]) -> bytes:
    manifest = {
        "format": FORMAT,
        "python": python_minor(),
        "modules": sorted(found.modules),
        "values": sorted(values),
        "distributions": {item.name: item.version for item in sorted({*found.outside.values()})},
        "imports": {name: item.name for name, item in sorted(found.outside.items())},
        "optional": sorted(found.optional),
        "uses": {key: sorted(names) for key, names in sorted(uses.items()) if names},
    }
    return json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=True).encode() + b"\n"


def write_zip(members: Mapping[str, bytes]) -> bytes:
    """A stored zip with fixed dates and rights, members sorted: the same members give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system = 3  # Unix, also where it is written on Windows
            info.external_attr = 0o100644 << 16
            archive.writestr(info, members[name])
    return buffer.getvalue()


def with_members(zip_bytes: bytes, members: Mapping[str, bytes]) -> tuple[bytes, str]:
    """The zip with more members in it, and its SHA-256, hex.

    >>> data, sha256 = with_members(write_zip({"a.py": b""}), {"b.json": b"{}"})
    >>> data == write_zip({"b.json": b"{}", "a.py": b""}), sha256 == hashlib.sha256(data).hexdigest()
    (True, True)
    """
    with zipfile.ZipFile(io.BytesIO(zip_bytes)) as archive:
        known = {name: archive.read(name) for name in archive.namelist()}
    data = write_zip({**known, **members})
    return data, hashlib.sha256(data).hexdigest()


# --- in the environment of a container ---


def compress(zip_bytes: bytes) -> bytes:
    """The zip under zstd."""
    import zstandard  # not needed to run anything locally

    return zstandard.ZstdCompressor(level=_LEVEL, write_checksum=False, write_content_size=True).compress(zip_bytes)


def decompress(data: bytes) -> bytes:
    """The zip again. Raises PayloadError for bytes that are not zstd's."""
    import zstandard

    try:
        return zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError as error:
        raise PayloadError(
            f"the code cannot be unpacked: it is damaged or cut off ({error}); compile the pipeline again"
        ) from error


def encode_code_env(zip_bytes: bytes) -> str:
    """The zip as text for GRANDPA_CODE: base64 of its zstd.

    >>> decode_code_env(encode_code_env(b"zip"))
    b'zip'
    """
    return base64.b64encode(compress(zip_bytes)).decode("ascii")


def decode_code_env(text: str) -> bytes:
    """The zip of GRANDPA_CODE. Raises PayloadError for what is not base64 of zstd."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise PayloadError(f"{ENV_CODE} is damaged: it is not base64 ({error}); compile the pipeline again") from error
    return decompress(data)


__all__ = [
    "FORMAT",
    "VALUE",
    "Loader",
    "Payload",
    "add_main",
    "build",
    "compress",
    "decode_code_env",
    "decompress",
    "encode_code_env",
    "importable",
    "is_project_module",
    "node_key",
    "python_minor",
    "unpack",
    "with_members",
    "write_zip",
]  # fmt: skip
