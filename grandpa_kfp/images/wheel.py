"""The grandpa-kfp that is at work here, as a wheel: what an image gets is what compiled the pipeline.

Made from the installed files, so that it works from a checkout, an editable install and a released wheel alike,
with no index that would have to know this version. `build.py` puts it into the build's context.
"""

from __future__ import annotations

import hashlib
import importlib.util
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from grandpa_kfp_runtime.errors import ContainerError

from .. import __version__

DISTRIBUTION = "grandpa-kfp"
PACKAGES = ("grandpa_kfp", "grandpa_kfp_compiler", "grandpa_kfp_runtime")
NEEDED_IN_IMAGE = ("cloudpickle", "minio", "packaging", "zstandard")
"""Of the distribution's requirements, those that a task needs."""

_DATE = (1980, 1, 1, 0, 0, 0)
_TAGS = "Wheel-Version: 1.0\nGenerator: grandpa-kfp\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_wheel(folder: Path) -> Path:
    """Writes the wheel into the folder; the same bytes for the same files. Raises ContainerError."""
    path = folder / f"grandpa_kfp-{__version__}-py3-none-any.whl"
    info = f"grandpa_kfp-{__version__}.dist-info"
    members = [*_modules(), (f"{info}/METADATA", _metadata().encode()), (f"{info}/WHEEL", _TAGS.encode())]
    record = "".join(f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in members)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in [*members, (f"{info}/RECORD", f"{record}{info}/RECORD,,\n".encode())]:
            archive.writestr(_member(name), data)
    return path


def runtime_requirements() -> list[str]:
    """What pip installs beside the wheel, with the bounds that this version has.

    >>> [requirement.partition(">")[0] for requirement in runtime_requirements()]
    ['cloudpickle', 'minio', 'packaging', 'zstandard']
    """
    found = metadata.requires(DISTRIBUTION) or []
    return sorted(item for item in found if item.startswith(NEEDED_IN_IMAGE) and "extra ==" not in item)


def _metadata() -> str:
    try:
        return metadata.distribution(DISTRIBUTION).read_text("METADATA") or ""
    except metadata.PackageNotFoundError:
        raise ContainerError(
            "grandpa-kfp is not installed here but found on sys.path, so an image cannot be given it: pip install it"
        ) from None


def _modules() -> Iterator[tuple[str, bytes]]:
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.submodule_search_locations is not None
        root = Path(next(iter(spec.submodule_search_locations)))
        for path in sorted(root.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield f"{package}/{path.relative_to(root).as_posix()}", path.read_bytes()


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, _DATE)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = 0o644 << 16
    return member


def _digest(data: bytes) -> str:
    return urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
