"""Requirements as pip takes them: read out of texts and files, and held against what is installed here.

The authoring side reads what a user writes at a node; the launcher and the local engine ask what is missing.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from ..redaction import without_credentials

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_HASH = re.compile(r"\s+--hash[= ](\w+:[0-9a-fA-F]+)")
_COMMENT = re.compile(r"(^|\s+)#.*$")
_VARIABLE = re.compile(r"\$\{[A-Z0-9_]+\}")
_INCLUDE = re.compile(r"(?:-r|--requirement)[= ]?\s*(.+)")
_MOST_INCLUDED = 50


class Unmet(NamedTuple):
    """A requirement that the running environment does not meet; version: what is installed, empty for nothing."""

    requirement: str
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.requirement} ({f'{self.version} is installed' if self.version else 'not installed'})"


def read_requirement(text: str) -> str:
    """The requirement in one spelling, its hashes behind it. Raises ValueError saying what is wrong with it.

    >>> read_requirement("Scikit-Learn >=1.4,<2")
    'Scikit-Learn<2,>=1.4'
    """
    found = _parsed(text)
    hashes = sorted(_HASH.findall(text))
    if found.url is not None:
        if fault := credentials_in(found.url):
            raise ValueError(f"{found.name} comes from an address with {fault}")
        if found.url.startswith("file:"):
            raise ValueError(f"{found.name} comes from a file of this machine, which no container has")
    return " ".join((str(found), *(f"--hash={item}" for item in hashes)))


def requirement_name(text: str) -> str:
    """The normal name of what a requirement asks for.

    >>> requirement_name("Scikit_Learn[all]>=1.4 --hash=sha256:00")
    'scikit-learn'
    """
    return re.sub(r"[-_.]+", "-", _parsed(text).name).lower()


def _parsed(text: str) -> Requirement:
    from packaging.requirements import InvalidRequirement, Requirement

    plain = _HASH.sub("", text).strip()
    try:
        return Requirement(plain)
    except InvalidRequirement as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{without_credentials(plain)!r} is no requirement that pip takes ({reason})") from None


def read_file(path: Path) -> tuple[str, ...]:
    """The requirements of a file, those of files that it includes (`-r`) too, sorted, each once.

    Comments, continued lines and `--hash` are understood. Raises ValueError naming file and line for all
    else, for a file that cannot be read, and for files that include each other.
    """
    return tuple(sorted(set(_lines_of(path, ()))))


def _lines_of(path: Path, above: tuple[Path, ...]) -> Iterator[str]:
    if path in above or len(above) > _MOST_INCLUDED:
        raise ValueError(" → ".join(item.name for item in (*above, path)) + ": the files include each other")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text in UTF-8") from None
    for number, line in _logical_lines(text):
        include = _INCLUDE.fullmatch(line)
        if include:
            yield from _lines_of(path.parent / include[1].strip(), (*above, path))
            continue
        if line.startswith("-"):
            option = re.split(r"[= ]", line, maxsplit=1)[0]
            more = ": write index_url= at the node" if option in ("-i", "--index-url") else ""
            raise ValueError(f"{path.name}:{number}: {option} is not understood here{more}; requirements and -r are")
        try:
            yield read_requirement(line)
        except ValueError as error:
            raise ValueError(f"{path.name}:{number}: {error}") from None


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with what they continue on (a backslash at the end), comments taken out, numbered by the first."""
    waiting, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        first = first if waiting else number
        joined = f"{waiting}{line}"
        if line.endswith("\\") and not _COMMENT.search(line):
            waiting = f"{joined[:-1]} "
            continue
        waiting = ""
        if plain := _COMMENT.sub("", joined).strip():
            yield first, plain
    if plain := _COMMENT.sub("", waiting).strip():
        yield first, plain


def read_index_url(url: str) -> str:
    """The address of a package index. Raises ValueError saying what is wrong with it.

    `${NAME}` in it stands for an environment variable of the task, which is how credentials get in.

    >>> read_index_url("https://ann:${INDEX_PASSWORD}@host/simple")
    'https://ann:${INDEX_PASSWORD}@host/simple'
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ValueError(f"is no address ({error})") from None
    if parts.scheme not in ("https", "http", "file") or not (parts.netloc or parts.path) or re.search(r"\s", url):
        raise ValueError(f"must be an address such as 'https://host/simple', but is {without_credentials(url)!r}")
    if fault := credentials_in(url):
        raise ValueError(f"holds {fault}")
    return url


def credentials_in(url: str) -> str:
    """What is wrong with a URL that holds a secret in clear; empty for one that holds none.

    >>> credentials_in("https://ann:${PASSWORD}@host/simple"), credentials_in("git+ssh://git@host/repo.git")
    ('', '')
    """
    user, colon, password = urlsplit(url).netloc.rpartition("@")[0].partition(":")
    if colon:
        if not password or _VARIABLE.fullmatch(password):
            return ""
        kind = "a password"
    elif not user or _VARIABLE.fullmatch(user) or "ssh" in url.partition("://")[0]:
        return ""
    else:
        kind = "credentials"
    return (
        f"{kind}, and everyone who can read the YAML would read it: write ${{NAME}} in its place, and give the node "
        "secrets={'NAME': 'secret/key'}; or give it the whole address so, secrets={'PIP_INDEX_URL': 'secret/key'}"
    )


def variables_in(texts: Iterable[str]) -> list[str]:
    """The environment variables that the texts name as `${NAME}`, sorted."""
    return sorted({found[2:-1] for text in texts for found in _VARIABLE.findall(text)})


def unmet(requirements: Sequence[str], *, deep: bool = True) -> list[Unmet]:
    """Which of the requirements this environment does not meet, in their order.

    deep: a distribution counts only with what it needs itself, as it does to pip.

    >>> [item.requirement for item in unmet(["click>=1", "click<1", "none-such"])]
    ['click<1', 'none-such']
    """
    found = []
    for text in requirements:
        requirement = _parsed(text)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        if not _is_met(requirement, set(), deep=deep):
            found.append(Unmet(text, requirement.name, _installed_version(requirement.name)))
    return found


def _is_met(requirement: Requirement, seen: set[tuple[str, frozenset[str]]], *, deep: bool) -> bool:
    try:
        found = metadata.distribution(requirement.name)
    except metadata.PackageNotFoundError:
        return False
    if requirement.url is not None and not _came_from(found, requirement.url):
        return False
    if not requirement.specifier.contains(found.version, prereleases=True):
        return False
    key = (requirement.name.lower(), frozenset(requirement.extras))
    if not deep or key in seen:
        return True
    seen.add(key)
    return all(_is_met(inner, seen, deep=True) for inner in _needed_by(found, requirement.extras))


def _needed_by(found: metadata.Distribution, extras: set[str]) -> Iterator[Requirement]:
    for text in found.requires or ():
        try:
            inner = _parsed(text)
        except ValueError:  # metadata of an old package: pip leaves it out, too
            continue
        asked = extras or {""}
        if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in asked):
            yield inner


def _came_from(found: metadata.Distribution, url: str) -> bool:
    """Whether what is installed was installed from that address; an index does not count."""
    try:
        told = json.loads(found.read_text("direct_url.json") or "{}")
    except ValueError:
        return False
    return str(told.get("url", "")) == os.path.expandvars(url).partition("#")[0]


def _installed_version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
