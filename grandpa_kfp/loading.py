"""Loads what the user names: `FILE.py[:NAME]` or a graph file.

Every verb of the command line begins here, and so does `launch` in a script: the script is loaded again
under its name in the project, and that copy alone is used, so that its functions are found by workers.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.util
import linecache
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from grandpa_kfp_runtime.code.project import (
    OURS,
    SCRIPT_PREFIX,
    find_root,
    is_library_file,
    is_project_file,
    main_file,
    module_name_for,
)
from grandpa_kfp_runtime.errors import GrandpaError, LoadError

if TYPE_CHECKING:
    from grandpa_kfp_compiler.graph import Graph

_loading: ContextVar[str] = ContextVar("loading", default="")
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(slots=True)
class _Loaded:
    """One file that was loaded: what came with it, and what it looked like."""

    module: ModuleType
    folders: list[str]
    text: bytes
    modules: dict[str, tuple[int, int]] = field(default_factory=dict)


_loaded: dict[str, _Loaded] = {}


def is_loading() -> bool:
    """Whether the top level of a user's file is being run to get at its definitions."""
    return bool(_loading.get())


def refuse_while_loading(verb: str) -> None:
    """Raises LoadError where `run`, `compile` and the like are called at the top level of a file being loaded."""
    if not is_loading():
        return
    from .authoring.where import here

    raise LoadError(
        f"{here()}: {verb} is called at the top level of a file that is being loaded; "
        'put the call under `if __name__ == "__main__":`'
    )


def load_target(spec: str) -> Any:
    """The workflow, component or node that `FILE.py[:NAME]` names, or the Graph of a graph file.

    Raises LoadError, with the user's file and line, for a file that is missing or fails to import, for a
    name that is not in it, and where several workflows leave open which is meant.
    """
    file, name = split_spec(spec)
    if file.suffix == ".json":
        if name:
            raise LoadError(f"{spec}: a graph file holds one workflow, so no name follows it")
        return load_graph(file)
    return find_workflow(load_file(file), name or None)


def split_spec(spec: str) -> tuple[Path, str]:
    """FILE and NAME of `FILE[:NAME]`; the colon of a Windows drive is none.

    >>> split_spec("flows/calc.py:main")[1], str(split_spec(r"C:\\\\flows\\\\calc.py")[0])
    ('main', 'C:\\\\\\\\flows\\\\\\\\calc.py')
    """
    head, colon, tail = spec.rpartition(":")
    if colon and len(head) > 1 and _NAME.fullmatch(tail) and not Path(spec).exists():
        return Path(head), tail
    return Path(spec), ""


def load_graph(file: Path) -> Graph:
    """The graph of a graph file. Raises LoadError for a file that is missing, and GraphError for a wrong one."""
    from grandpa_kfp_compiler import json_format

    _check_exists(file)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LoadError(f"{file}: the graph file cannot be read: {error}") from error
    try:
        return json_format.loads(text, source=str(file))
    except GrandpaError:
        raise
    except ValueError as error:
        raise LoadError(f"{file}: this is no graph file: {error}") from error


def load_file(path: Path | str) -> ModuleType:
    """Runs a Python file under its name in the project and gives its module; a file that has not changed, once.

    Raises LoadError with the user's file and line where it is missing or its top level fails.
    """
    given = Path(path)
    _check_exists(given)
    if given.suffix not in (".py", ".pyw"):
        raise LoadError(f"{given}: expected a Python file (FILE.py[:NAME]) or a graph file (FILE.json)")
    file = Path(os.path.abspath(given))
    root = find_root(file)
    folders = _folders(file, root)
    try:
        text = file.read_bytes()
    except OSError as error:
        raise LoadError(f"{given}: the file cannot be read: {error.strerror}") from error
    kept = _loaded.get(str(file))
    if kept is not None and kept.text == text and _is_fresh(kept):
        _enter(folders)
        return kept.module
    _make_room(file, folders)
    _enter(folders)
    name = module_name_for(file, root)
    before = set(sys.modules)
    module = _execute(name, file, given, text)
    found = _Loaded(module, folders, text)
    for other in set(sys.modules) - before | {name}:
        stamp = _stamp(other)
        if stamp is not None:
            found.modules[other] = stamp
    _loaded[str(file)] = found
    return module


def reload_main(target: Any) -> Any:
    """The same workflow, component or node in the running script's copy under its project name.

    What is not defined in the running script is given back as it is. Raises LoadError as `load_file` does,
    also where the copy has nothing under that name.
    """
    file = main_file()
    if file is None:
        return target
    main = vars(sys.modules["__main__"])
    names = [name for name, value in main.items() if value is target]
    if not names or getattr(target, "__module__", "__main__") != "__main__":
        return target
    copy = load_file(file)
    for name in names:
        if hasattr(copy, name):
            return getattr(copy, name)
    raise LoadError(
        f"{file.name}: {names[0]} exists only when the file runs as a script; define it outside of "
        '`if __name__ == "__main__":`'
    )


def find_workflow(module: ModuleType, name: str | None = None) -> Any:
    """The workflow, component or node of that name (dotted for a class's); without a name the only workflow.

    Raises LoadError naming the nearest, or all there are.
    """
    shown = Path(module.__file__ or module.__name__).name
    if name:
        return _named(module, name, shown)
    found = workflows_in(module)
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        listed = ", ".join(f"{key} ({getattr(value, 'where', shown)})" for key, value in found.items())
        raise LoadError(f"{shown} has several workflows: {listed}; say which: {shown}:{next(iter(found))}")
    others = ", ".join(key for key, value in vars(module).items() if _is_marked(value, module))
    hint = f"; name a component or node to take it alone: {others}" if others else "; mark a function with @Workflow"
    raise LoadError(f"{shown} has no workflow{hint}")


def _named(module: ModuleType, name: str, shown: str) -> Any:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not None and _is_target(found):
        return found
    if found is not None and name in vars(module):
        raise LoadError(f"{shown}: {name} is no workflow, component or node; mark it with @Workflow")
    known = [key for key, value in vars(module).items() if _is_target(value)]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}" if known else ""
    raise LoadError(f"{shown} has no workflow, component or node {name}{hint}")


def _is_target(value: Any) -> bool:
    kind = type(value)
    mark = getattr(kind, "__grandpa_node__", None)  # a real object of a marked class is no node
    is_node = mark is not None and not isinstance(mark, type)
    return is_node or hasattr(kind, "__grandpa_traced__") or _is_marked_class(value)


def _is_marked_class(value: Any) -> bool:
    return isinstance(value, type) and "__grandpa_node__" in vars(value)


def _is_marked(value: Any, module: ModuleType) -> bool:
    return _is_target(value) and getattr(value, "__module__", None) == module.__name__


def workflows_in(module: ModuleType) -> dict[str, Any]:
    """The module's own workflows by name, each once; imported ones only where it has none."""
    found: dict[str, Any] = {}
    for key, value in vars(module).items():
        if getattr(type(value), "__grandpa_traced__", "") == "workflow" and all(
            value is not other for other in found.values()
        ):
            found[key] = value
    own = {key: value for key, value in found.items() if getattr(value, "__module__", None) == module.__name__}
    return own or found


# --- running a file ---


def _check_exists(file: Path) -> None:
    if file.is_file():
        return
    if file.is_dir():
        scripts = ", ".join(sorted(item.name for item in file.glob("*.py"))[:5])
        raise LoadError(f"{file} is a folder; name a file in it" + (f": {scripts}" if scripts else ""))
    folder = file.parent
    near = difflib.get_close_matches(
        file.name, [item.name for item in folder.glob("*")] if folder.is_dir() else [], n=1
    )
    raise LoadError(f"{file}: there is no such file" + (f"; did you mean {folder / near[0]}?" if near else ""))


def _folders(file: Path, root: Path) -> list[str]:
    """What goes in front of `sys.path`: as for `python FILE`, then the project's root."""
    inside_package = (file.parent / "__init__.py").exists()
    folders = [str(root), str(file.parent)] if inside_package else [str(file.parent), str(root)]
    return list(dict.fromkeys(folders))


def _enter(folders: list[str]) -> None:
    for folder in reversed(folders):
        with suppress(ValueError):
            sys.path.remove(folder)
        sys.path.insert(0, folder)
    importlib.invalidate_caches()


def _stamp(name: str) -> tuple[int, int] | None:
    """Time of change and size of a project module's file, None for other modules."""
    file = getattr(sys.modules.get(name), "__file__", None)
    if not is_project_file(name, file) or file is None:
        return None
    try:
        found = os.stat(file)
    except OSError:
        return 0, -1
    return found.st_mtime_ns, found.st_size


def _is_fresh(kept: _Loaded) -> bool:
    """Whether nothing that came with the file has changed, or been taken out since."""
    return sys.modules.get(kept.module.__name__) is kept.module and all(
        _stamp(name) == stamp for name, stamp in kept.modules.items()
    )


def _make_room(file: Path, folders: list[str]) -> None:
    """Forgets earlier files whose modules have changed, or stand where this one's modules will."""
    for key, kept in list(_loaded.items()):
        tops = {name.partition(".")[0] for name in kept.modules}
        same_place = kept.folders == folders
        taken = not same_place and any(
            os.path.exists(os.path.join(folder, top + suffix))
            for folder in folders
            for top in tops
            for suffix in ("", ".py")
        )
        if key == str(file) or taken or (same_place and not _is_fresh(kept)):
            for name in kept.modules:
                sys.modules.pop(name, None)
            for folder in kept.folders:
                with suppress(ValueError):
                    sys.path.remove(folder)
            del _loaded[key]
    for name in [item for item in sys.modules if item.partition(".")[0].startswith(SCRIPT_PREFIX)]:
        if getattr(sys.modules[name], "__file__", None) == str(file):
            del sys.modules[name]


@contextmanager
def marked_as_loading(file: Path | str) -> Iterator[None]:
    """Within, `run`, `compile` and the like are refused: the top level of this file is being run."""
    token = _loading.set(str(file))
    try:
        yield
    finally:
        _loading.reset(token)


def _execute(name: str, file: Path, given: Path, text: bytes) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    parent, _, last = name.rpartition(".")
    linecache.checkcache(str(file))
    try:
        with marked_as_loading(file):
            if parent:
                importlib.import_module(parent)
            sys.modules[name] = module
            # not by the module's loader: a .pyc of the same second and size would pass for the new text
            exec(compile(text, str(file), "exec", dont_inherit=True), module.__dict__)
    except GrandpaError:
        sys.modules.pop(name, None)
        raise
    except (Exception, SystemExit) as error:  # whatever the top level of a user's file may raise
        sys.modules.pop(name, None)
        raise LoadError(users_report(error, given)) from error
    except BaseException:
        sys.modules.pop(name, None)
        raise
    if parent:
        setattr(sys.modules[parent], last, module)
    return module


def users_report(error: BaseException, given: Path | None = None) -> str:
    """What the user's code raised: the innermost place in it first, then the user's own frames that led there.

    given: the file as the user named it.
    """
    if isinstance(error, SyntaxError) and error.filename:
        line = (error.text or "").strip()
        shown = f"\n    {line}" if line else ""
        return f"{_short(error.filename, given)}:{error.lineno}: {type(error).__name__}: {error.msg}{shown}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_foreign(frame.filename)]
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SystemExit):
        what = f"the file ends the program while it is loaded (exit {error.code})"
    if not frames:
        return what if given is None else f"{given}: {what}"
    last = frames[-1]
    lines = [f"{_short(last.filename, given)}:{last.lineno}: {what}"]
    if last.line:
        lines.append(f"    {last.line}")
    lines += [f"  from {_short(item.filename, given)}:{item.lineno}: {item.line}" for item in reversed(frames[:-1])]
    return "\n".join(lines)


@functools.cache
def _our_folders() -> tuple[str, ...]:
    specs = [importlib.util.find_spec(name) for name in sorted(OURS)]
    return tuple(os.path.dirname(spec.origin) + os.sep for spec in specs if spec is not None and spec.origin)


def _is_foreign(file: str) -> bool:
    return file.startswith(("<", *_our_folders())) or is_library_file(file)


def _short(file: str, given: Path | None) -> str:
    """A file as the user would name it: as given, else relative to the project."""
    if given is not None and os.path.abspath(file) == os.path.abspath(given):
        return str(given)
    with suppress(ValueError):
        return str(Path(file).relative_to(find_root(given or Path(file))))
    return file
