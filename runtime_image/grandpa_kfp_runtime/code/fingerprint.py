"""The fingerprint: a hash of the code that a node really uses, down to single functions.

Changing a node's body, or a helper that only it uses, changes that node alone, though all live in one
file; comments, blank lines and moving a function change nothing. `grandpa_kfp.packing` asks for every
node of a graph, the codecs for classes whose objects they store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from ..errors import PayloadError
from .imports import Locator
from .live import LiveReach
from .reach import Place, digest


class CallOptions(Protocol):
    """The options of a call that are part of its fingerprint; None is unset."""

    @property
    def version(self) -> str | None: ...
    @property
    def env(self) -> tuple[tuple[str, str], ...] | None: ...
    @property
    def packages(self) -> tuple[str, ...] | None: ...
    @property
    def image(self) -> str | None: ...


OWN = "grandpa-kfp"
"""Our own distribution, which every worker has in some version: the contract tells whether it is the right one."""


class Fingerprints:
    """The fingerprints of many callables: what they share is looked at once.

    >>> def double(x): return 2 * x
    >>> len(Fingerprints().code(double))
    64
    """

    def __init__(
        self,
        *,
        locator: Locator | None = None,
        files: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        modules: Iterable[str] = (),
    ) -> None:
        """files: name and hash of data files that every node may read; modules: such that count as a whole."""
        self._reach = LiveReach(Locator() if locator is None else locator)
        self._common = {(f"file {name}", content) for name, content in dict(files).items()}
        for name in modules:
            self._common |= self._reach.from_places([Place("whole", name)])

    def code(self, target: Any) -> str:
        """The fingerprint of a function, class or other callable: its code alone, 64 hex digits.

        Raises PayloadError where a module of the project cannot be read.
        """
        return code_fingerprint(self.explain(target))

    def logs(self, target: Any) -> frozenset[str]:
        """Which of `log_metric`, `log_params` and `log_artifact` the code of a callable refers to, however deep.

        >>> Fingerprints().logs(lambda: print("nothing"))
        frozenset()
        """
        return self._reach.logs_from(self._reach.target(target))

    def opaque(self, target: Any) -> list[str]:
        """The kinds of the objects that the callable holds and that no fingerprint can tell apart: a lock, a generator.

        >>> Fingerprints().opaque(print)
        []
        """
        return sorted(self._reach.opaque_from(self._reach.target(target)))

    def outside(self, target: Any) -> list[str]:
        """The names of the outside distributions that the callable's code uses, sorted."""
        texts = [own for kind, own in self._reach.from_places(self._reach.target(target)) if kind == "outside"]
        return sorted({text.partition("==")[0] for text in texts} - {OWN})

    def explain(self, target: Any) -> list[tuple[str, str]]:
        """What went into the fingerprint: (module:qualname, own hash), sorted."""
        return sorted(self._reach.from_places(self._reach.target(target)) | self._common)


def fingerprint(
    target: Any,
    *,
    version: str | None = None,
    env: Mapping[str, str] | None = None,
    packages: Iterable[str] | None = None,
    image: str | None = None,
    files: Iterable[Path | str] = (),
) -> str:
    """The fingerprint of one callable with its options, 64 hex digits.

    files: data files that it reads, by content. Raises PayloadError for a file that cannot be read.

    >>> def double(x): return 2 * x
    >>> fingerprint(double) == fingerprint(double, version="2")
    False
    """
    named = {Path(file).name: file_hash(file) for file in files}
    options = _Options(version, tuple(sorted((env or {}).items())) or None, tuple(packages or ()) or None, image)
    return call_fingerprint(Fingerprints(files=named).code(target), options)


def code_fingerprint(entries: Iterable[tuple[str, str]]) -> str:
    """The fingerprint of code that consists of this: what `Fingerprints.explain` gave."""
    found = hashlib.sha256()
    for name, own in entries:
        found.update(f"{len(name)} {name} {own}\n".encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def call_fingerprint(node_fingerprint: str, options: CallOptions, others: Iterable[str] = ()) -> str:
    """A node's fingerprint for one call: `version`, `env`, `packages` and `image` of the call mixed in.

    others: fingerprints of further classes whose instances the task constructs for its arguments. A call
    that has none of all this has the node's own fingerprint.
    """
    chosen = (options.version, options.env or None, options.packages or None, options.image)
    classes = sorted({*others} - {node_fingerprint})
    if chosen == (None, None, None, None) and not classes:
        return node_fingerprint
    version, env, packages, image = chosen
    return digest(
        node_fingerprint,
        ",".join(classes),
        ascii(version),
        ascii(sorted(env or ())),
        ascii(sorted(packages or ())),
        ascii(image),
    )


def file_hash(file: Path | str) -> str:
    """SHA-256 of a file's content, hex. Raises PayloadError where it cannot be read."""
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError as error:
        raise PayloadError(f"{file}: a data file cannot be read: {error.strerror}") from error


class _Options:
    """Options given one by one."""

    __slots__ = ("env", "image", "packages", "version")

    def __init__(
        self,
        version: str | None,
        env: tuple[tuple[str, str], ...] | None,
        packages: tuple[str, ...] | None,
        image: str | None,
    ) -> None:
        self.version = version
        self.env = env
        self.packages = packages
        self.image = image
