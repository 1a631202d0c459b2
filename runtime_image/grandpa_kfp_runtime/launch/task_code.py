"""The user's code in a container: out of the environment or the store, checked, ready to load.

The launcher calls `open_code` before it decodes any input, since stored values name the user's classes.
"""

from __future__ import annotations

import importlib
import inspect
import os
from base64 import b64decode
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contract import ENV_CODE, ENV_CODE_SHA256, ENV_PYTHON, VALUE, CodeCall
from ..errors import ObjectGone, PayloadError
from ..stores.base import Store
from ..values.handles import from_handle, to_handle

if TYPE_CHECKING:
    from ..code.loader import Loader


def check_by_value(keys: Iterable[str], env: Mapping[str, str]) -> None:
    """Raises PayloadError where one of the nodes is a pickle of code that another Python minor has made."""
    for key in keys:
        if key.startswith(VALUE):
            from ..code.loader import check_python

            check_python(env.get(ENV_PYTHON, ""), f"the node {key.removeprefix(VALUE)}")


def open_code(env: Mapping[str, str], store: Store, folder: Path) -> Loader | InstalledCode:
    """The task's code, whose `load(key)` gives its nodes: the packed one, else what the image has installed.

    folder: a new one, which the code is unpacked into. Raises PayloadError, ObjectGone.
    """
    text = env.get(ENV_CODE, "")
    if not text:
        return InstalledCode()
    from ..code.payload import Loader, unpack

    unpack(read_code(text, store), env.get(ENV_CODE_SHA256, ""), folder)
    return Loader(folder)


def read_code(text: str, store: Store) -> bytes:
    """The zip that GRANDPA_CODE holds: in itself, or as its parts' keys in the store, `@key,@key`.

    Raises PayloadError for damaged text, ObjectGone for a part that is not there.
    """
    from ..code.payload import decode_code_env, decompress

    if not text.startswith("@"):
        return decode_code_env(text)
    parts: list[bytes] = []
    for number, handle in enumerate(text.split(","), 1):
        try:
            parts.append(bytes(from_handle(handle, store)))
        except ObjectGone as error:
            raise ObjectGone(
                f"part {number} of the workflow's code: {error}; the task `code` puts it there, or `grandpa deploy`"
            ) from error
    return decompress(b"".join(parts))


def put_code(call: CodeCall, env: Mapping[str, str], store: Store) -> str:
    """Writes the part of the code that the environment holds; its handle. Raises PayloadError, StoreError."""
    try:
        data = b64decode(env.get(ENV_CODE, ""), validate=True)
    except ValueError as error:
        raise PayloadError(f"part {call.part} of {call.parts} of the code is damaged in {ENV_CODE}: {error}") from error
    if not data:
        raise PayloadError(f"part {call.part} of {call.parts} of the code is missing: {ENV_CODE} is empty")
    return to_handle(data, store, inline_limit=0, name="the code")


class InstalledCode:
    """What the image has installed, in a loader's place: its classes are no project's, a change is a new image."""

    def load(self, key: str) -> Any:
        return _installed(key)

    def check(self, _: Iterable[str]) -> list[str]:
        """What the image has installed brings what it needs."""
        return []

    def class_fingerprint(self, _: Any) -> str | None:
        return None

    def close(self) -> None:
        """Nothing was opened."""


def _installed(key: str) -> Any:
    """A node of the image's own, or one of the runtime's builtins: `module:qualname`."""
    module, _, qualname = key.partition(":")
    if key.startswith(VALUE) or not qualname:
        raise PayloadError(f"the node {key} travels with the workflow's code, and {ENV_CODE} is empty")
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise PayloadError(f"the node {key} is not in the image, and {ENV_CODE} is empty: {error}") from error
    for part in qualname.split("."):
        if not hasattr(found, part):
            raise PayloadError(f"the module {module} has no {qualname}, which the task calls")
        found = getattr(found, part)
    return found if isinstance(found, type) else getattr(found, "__grandpa_node__", found)


def where_of(target: Any, root: str) -> str:
    """The file:line of a function or class, told from the code's folder; empty where there is none."""
    target = getattr(target, "func", target)  # of a partial
    try:
        file, line = inspect.getsourcefile(target), inspect.getsourcelines(target)[1]
    except (OSError, TypeError):
        return ""
    return "" if file is None else f"{file.removeprefix(root.rstrip(os.sep) + os.sep)}:{line}"
