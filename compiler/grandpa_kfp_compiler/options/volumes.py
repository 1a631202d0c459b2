"""What `volumes` may hold: the kinds of volume that KFP can mount, as values.

The helpers `pvc`, `empty_dir`, ... of grandpa_kfp make them; a dict whose first key is the kind says the
same in a configuration or graph file: `{"pvc": "datasets", "sub_path": "2024"}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeAlias

from .names import NAME_MISTAKE, is_label, nearest
from .rules import Json, Rule, Wrong, by_name_rule, is_size

ACCESS_MODES = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")


@dataclass(frozen=True, slots=True)
class Pvc:
    """A persistent volume claim by its name. sub_path: the folder in it that is mounted."""

    pvc: str
    sub_path: str = ""


@dataclass(frozen=True, slots=True)
class EmptyDir:
    """A folder that lives as long as the pod. empty_dir: its greatest size, empty for none; memory: in RAM."""

    empty_dir: str = ""
    memory: bool = False


@dataclass(frozen=True, slots=True)
class EphemeralVolume:
    """A volume of this size, claimed for the pod and deleted with it. storage_class: empty is the default one."""

    ephemeral: str
    storage_class: str = ""
    access_modes: tuple[str, ...] = ("ReadWriteOnce",)


@dataclass(frozen=True, slots=True)
class ConfigMapVolume:
    """A config map as a folder, a file a key. optional: it may not exist."""

    config_map: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class SecretVolume:
    """A secret as a folder, a file a key. optional: it may not exist."""

    secret: str
    optional: bool = False


Volume: TypeAlias = "Pvc | EmptyDir | EphemeralVolume | ConfigMapVolume | SecretVolume"
KINDS: dict[str, type[Volume]] = {
    fields(kind)[0].name: kind for kind in (Pvc, EmptyDir, EphemeralVolume, ConfigMapVolume, SecretVolume)
}
_CLASSES = tuple(KINDS.values())
_PATH = re.compile(r"(/[^/\0:]+)+")


def read_volume(path: str, value: Any) -> Volume:
    """A volume, or the dict that says the same. Raises Wrong."""
    if isinstance(value, _CLASSES):
        return value
    if not isinstance(value, Mapping):
        raise Wrong(f"must hold volumes such as pvc('datasets'), but has {value!r} at {path}")
    kinds = [name for name in value if name in KINDS]
    if len(kinds) != 1:
        raise Wrong(f"must name the kind of volume at {path}, one of {', '.join(KINDS)}, but has {dict(value)!r}")
    kind = KINDS[kinds[0]]
    known = [item.name for item in fields(kind)]
    for name, item in value.items():
        if name not in known:
            raise Wrong(f"has {name!r} at {path}, which a volume of kind {kinds[0]} has not{nearest(name, known)}")
        if not isinstance(item, str | bool) and not _is_texts(item):
            raise Wrong(f"has {name}={item!r} at {path}, which is no text")
    given: dict[str, Any] = {name: tuple(item) if isinstance(item, list) else item for name, item in value.items()}
    return kind(**given)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


def volume_json(volume: Volume) -> Json:
    """The dict form, without what is at its default.

    >>> volume_json(Pvc("datasets", "2024")), volume_json(EmptyDir())
    ({'pvc': 'datasets', 'sub_path': '2024'}, {'empty_dir': ''})
    """
    first, *others = fields(volume)
    found = {first.name: getattr(volume, first.name)}
    for item in others:
        value = getattr(volume, item.name)
        if item.default is MISSING or value != item.default:
            found[item.name] = list(value) if isinstance(value, tuple) else value
    return found


def path_mistakes(path: str) -> Iterator[str]:
    """What is wrong with a path in the container to mount something at."""
    if _PATH.fullmatch(path) is None or any(part in (".", "..") for part in path.split("/")):
        yield f"mounts at {path!r}, which is no absolute path of a folder"


def volume_mistakes(path: str, volume: Volume) -> Iterator[str]:
    """What is wrong with one volume and its path."""
    yield from path_mistakes(path)
    first, *others = fields(volume)
    main = getattr(volume, first.name)
    if isinstance(volume, EmptyDir | EphemeralVolume):
        if not is_size(main) and not (main == "" and isinstance(volume, EmptyDir)):
            yield f"wants a size such as '20Gi' for the volume at {path}, but has {main!r}"
    elif not is_label(main):
        yield f"names {first.name} {main!r} at {path}: {NAME_MISTAKE}"
    for item in others:
        value = getattr(volume, item.name)
        if isinstance(item.default, bool):
            right = isinstance(value, bool)
        elif item.name == "access_modes":
            right = isinstance(value, tuple) and bool(value) and set(value) <= set(ACCESS_MODES)
        else:
            right = isinstance(value, str) and not value.startswith("/")
        if not right:
            hint = f"; there are {', '.join(ACCESS_MODES)}" if item.name == "access_modes" else ""
            yield f"has {item.name}={value!r} for the volume at {path}{hint}"


VOLUMES: Rule = by_name_rule("a dict of paths to volumes", read_volume, volume_mistakes, volume_json)
