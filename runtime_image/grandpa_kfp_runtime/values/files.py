"""Files and directories as values: `pathlib.Path` results, and `File` for the user's own files.

A file is stored with its content, its name and whether it may be executed; a directory as a tar that
is the same for the same content. Both are streamed, never whole in memory. Decoding gives a `Path`
below the task's scratch folder, which the task may change as it likes.
"""

from __future__ import annotations

import mmap
import os
import stat
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import IO

from ..errors import CodecError
from .frames import Buffer, copy_to, reader
from .registry import Codec, Parts, register_codec

_MAP_FROM_BYTES = 1024 * 1024


class File:
    """A file or folder of the user's own, as an argument of a node or a default of a parameter.

    The node receives a local `pathlib.Path` with the same content and name. A relative path is taken
    from the folder of the Python file that calls `File`, where it exists there, else from the working
    directory. Two Files are equal when their paths are. Nothing is read before the value is needed.

    >>> File("data/train.csv").path.name
    'train.csv'
    """

    __slots__ = ("path",)
    path: Path

    def __init__(self, path: str | os.PathLike[str]) -> None:
        given = Path(path).expanduser()
        if not given.is_absolute():
            beside = Path(sys._getframe(1).f_code.co_filename).absolute().parent / given
            given = beside if beside.exists() else Path.cwd() / given
        object.__setattr__(self, "path", Path(os.path.normpath(given)))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a File is fixed: {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a File is fixed: {name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        return self.path == other.path if isinstance(other, File) else NotImplemented

    def __hash__(self) -> int:
        return hash((File, self.path))

    def __repr__(self) -> str:
        return f"File({str(self.path)!r})"

    def __fspath__(self) -> str:
        return str(self.path)

    def __reduce__(self) -> tuple[type[File], tuple[str]]:
        return File, (str(self.path),)


_ONLY_NAME = "Where only the name is meant, use str(path)"


def encode_path(path: Path, missing: str = f"write it before the node returns. {_ONLY_NAME}") -> Parts:
    """Name, mode and content of what lies at the path. Raises CodecError where nothing does.

    missing: what to do then.
    """
    absolute = os.path.abspath(path)
    try:
        mode = os.stat(absolute).st_mode
        if stat.S_ISDIR(mode):
            _refuse_wide(absolute, path)
            return Parts((_pack_folder(absolute),), {"name": os.path.basename(absolute), "folder": True})
        if not stat.S_ISREG(mode):
            raise CodecError(f"{path} is neither a file nor a folder; {_ONLY_NAME}")
        meta = {"name": os.path.basename(absolute), **({"executable": True} if mode & stat.S_IXUSR else {})}
        with open(absolute, "rb") as file:
            return Parts((_mapped(file),), meta)
    except FileNotFoundError:
        raise CodecError(f"the path {path} does not exist; {missing}") from None
    except OSError as error:
        raise CodecError(f"the path {path} cannot be read: {error.strerror}; {_ONLY_NAME}") from error


def decode_path(parts: Parts) -> Path:
    """A new file or folder of that name and content in a folder of its own."""
    name = str(parts.meta.get("name", ""))
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise CodecError(f"{name!r} cannot be the name of a file")
    target = parts.folder() / name
    if parts.meta.get("folder"):
        _unpack_folder(reader(parts.frames[0]), target)
        return target
    with open(target, "xb") as file:
        copy_to(parts.frames[0], file)
    if parts.meta.get("executable"):
        _make_executable(target)
    return target


def _mapped(file: IO[bytes]) -> Buffer:
    size = os.fstat(file.fileno()).st_size
    if size < _MAP_FROM_BYTES:
        return file.read()
    return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)


def _refuse_wide(absolute: str, path: Path) -> None:
    """A config object may name `/` or the home folder: nobody wants those as a tar."""
    home = Path(os.path.expanduser("~"))  # a container's user may have none
    if Path(absolute) in (home, *Path.cwd().parents, Path.cwd()):
        raise CodecError(f"the folder {path} holds the working or home directory, so it is not stored. {_ONLY_NAME}")


def _pack_folder(root: str) -> Buffer:
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for relative in _entries(root):
                _add(tar, root, relative)
        file.flush()
        file.seek(0)
        return _mapped(file)


def _entries(root: str) -> list[str]:
    found = []
    for folder, folders, names in os.walk(root, onerror=_raise):
        for name in (*folders, *names):
            found.append(os.path.relpath(os.path.join(folder, name), root))
    return sorted(found, key=lambda path: path.split(os.sep))


def _raise(error: OSError) -> None:
    raise error


def _add(tar: tarfile.TarFile, root: str, relative: str) -> None:
    """Adds one entry; dates, owners and finer modes are left out, so that they never change the bytes."""
    path = os.path.join(root, relative)
    mode = os.lstat(path).st_mode
    info = tarfile.TarInfo(relative.replace(os.sep, "/"))
    info.mode = 0o755 if stat.S_ISDIR(mode) or mode & stat.S_IXUSR else 0o644
    if stat.S_ISLNK(mode):
        target = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
        if os.path.commonpath([root, target]) != root:
            raise CodecError(f"the link {relative} in the folder {root} leads out of it; put a copy in its place")
        info.type, info.linkname = tarfile.SYMTYPE, os.path.relpath(target, os.path.dirname(path))
        tar.addfile(info)
    elif stat.S_ISDIR(mode):
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    elif stat.S_ISREG(mode):
        with open(path, "rb") as file:
            info.size = os.fstat(file.fileno()).st_size
            tar.addfile(info, file)
    else:
        raise CodecError(f"{relative} in the folder {root} is neither file, folder nor link; remove it")


def _unpack_folder(stream: IO[bytes], target: Path) -> None:
    target.mkdir()
    folders: set[tuple[str, ...]] = {()}  # those made here: nothing is ever written through a link
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                _extract(tar, member, target, folders)
    except (tarfile.TarError, FileExistsError) as error:
        raise CodecError(f"a stored folder is damaged: {error}") from error


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, folders: set[tuple[str, ...]]) -> None:
    parts = tuple(member.name.split("/"))
    path = target.joinpath(*parts)
    if parts[:-1] not in folders or parts[-1] in ("", ".", ".."):
        raise CodecError(f"a stored folder is damaged: {member.name!r} leads out of it")
    if member.isdir():
        path.mkdir()
        folders.add(parts)
    elif member.issym():
        if os.path.normpath(os.path.join(*parts[:-1], member.linkname)).startswith(("..", "/")):
            raise CodecError(f"a stored folder is damaged: the link {member.name!r} leads out of it")
        os.symlink(member.linkname, path)
    elif member.isfile():
        content = tar.extractfile(member)
        assert content is not None  # isfile says so
        with open(path, "xb") as file:
            while chunk := content.read(_MAP_FROM_BYTES):
                file.write(chunk)
        if member.mode & stat.S_IXUSR:
            _make_executable(path)
    else:
        raise CodecError(f"a stored folder is damaged: {member.name!r} is neither file, folder nor link")


def _make_executable(path: Path) -> None:
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def _encode_file(file: File) -> Parts:
    return encode_path(
        file.path,
        "File(...) looks for a relative path in the folder of the Python file that calls it, then in the current one",
    )


register_codec(Codec("file", File, _encode_file, decode_path, raw=True))
register_codec(Codec("file", type(Path()), encode_path, decode_path, raw=True))
