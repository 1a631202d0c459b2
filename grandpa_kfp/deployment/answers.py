"""What went wrong between us and a Kubeflow Pipelines server, in words; the callers are `server` and `forward`.

Nothing of a request appears in a message: its headers hold tokens and cookies.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from grandpa_kfp_runtime.errors import DeployError

_SHOWN = 400
_AGAIN = frozenset({408, 425, 429, 502, 503, 504})
LOG_IN = (
    "log in again; give a token in GRANDPA_KFP_TOKEN, or the session's cookies in GRANDPA_KFP_COOKIES, "
    "as the browser sends them"
)


def public_url(url: str) -> str:
    """The URL without user and password.

    >>> public_url("https://me:secret@kfp.example/pipeline?token=1")
    'https://kfp.example/pipeline'
    """
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def refused(what: str, host: str, status: int, body: bytes | str, content_type: str = "") -> DeployError:
    """The error for an answer other than 2xx. what: what was asked for, `start the run`.

    >>> str(refused("read run 12", "http://kfp", 404, b'{"message": "run 12 not found"}'))
    'cannot read run 12: http://kfp does not have it (404): run 12 not found'
    """
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    if is_web_page(text, content_type) and status not in _AGAIN:
        return web_page(what, host, status)
    said = message_in(text)
    because = f": {said}" if said else ""
    told = {
        400: f"{host} does not take the request (400){because}",
        401: f"{host} does not know who you are (401){because}; {LOG_IN}",
        403: f"{host} does not allow it (403){because}; ask for the right in this namespace, or name another namespace",
        404: f"{host} does not have it (404){because}",
        409: f"{host} has one of that name already (409){because}",
        413: f"{host} or a proxy before it takes no request that large (413){because}",
    }.get(status)
    if told is None and status in _AGAIN:
        told = f"{host} is not ready ({status}){because}; try again in a while"
    if told is None:
        told = f"{host} failed ({status}){because}; the log of its ml-pipeline pod tells more"
    return DeployError(f"cannot {what}: {told}", status=status, transient=status in _AGAIN)


def web_page(what: str, host: str, status: int) -> DeployError:
    """A page for a browser where an answer of the API should be: a login, or a wrong path."""
    if status in (401, 403):
        return DeployError(f"cannot {what}: {host} shows a login page ({status}); {LOG_IN}", status=status)
    return DeployError(
        f"cannot {what}: {host} answers with a web page, not with the API of Kubeflow Pipelines ({status}). Either a "
        f"proxy or a login stands before it ({LOG_IN}), or the URL lacks its path (often /pipeline)",
        status=status,
    )


def is_web_page(text: str, content_type: str) -> bool:
    return "html" in content_type.lower() or bool(re.match(r"\s*<(!doctype|html|head|body)", text, re.IGNORECASE))


def message_in(text: str) -> str:
    """What the server says, out of its JSON (`message`, `error`, `error_message`), in one line.

    >>> message_in('{"error_message": "Failed", "error_details": "Failed: name taken"}')
    'Failed: name taken'
    """
    try:
        data = json.loads(text)
    except ValueError:
        return _short(text)
    if not isinstance(data, dict):
        return _short(text)
    for name in ("error_details", "message", "error_message", "error"):
        value = data.get(name)
        if isinstance(value, str) and value:
            return _short(value)
    return ""


def broken(what: str, host: str, error: BaseException) -> DeployError | None:
    """The error for a request without an answer; None where it is no such thing."""
    from urllib3 import exceptions

    inner = _innermost(error)
    if isinstance(inner, exceptions.SSLError) or "SSL" in type(inner).__name__ or _status_of(error) == 0:
        reason = str(getattr(error, "reason", "") or inner)
        return DeployError(
            f"cannot {what}: the certificate of {host} is not trusted here ({_short(reason)}); "
            "give its authority's certificate by --ca-cert FILE or GRANDPA_KFP_CA"
        )
    if isinstance(inner, exceptions.ReadTimeoutError):
        return DeployError(f"cannot {what}: {host} does not answer in time; try again in a while", transient=True)
    if isinstance(inner, exceptions.NameResolutionError):
        return DeployError(f"cannot {what}: there is no server of the name in {host}", transient=True)
    if isinstance(inner, exceptions.ConnectTimeoutError) and not isinstance(inner, exceptions.NewConnectionError):
        return DeployError(f"cannot {what}: {host} cannot be reached in time; is the address right?", transient=True)
    if isinstance(inner, exceptions.LocationParseError | exceptions.LocationValueError):
        return DeployError(f"cannot {what}: {host!r} is no URL; write it as https://server/path")
    if isinstance(error, exceptions.HTTPError | OSError):
        return DeployError(f"cannot {what}: nothing answers at {host} ({_reason(inner)})", transient=True)
    return None


def _innermost(error: BaseException) -> BaseException:
    reason: Any = getattr(error, "reason", None)
    while isinstance(reason, BaseException):
        error, reason = reason, getattr(reason, "reason", None)
    return error


def _status_of(error: BaseException) -> int | None:
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else None


def _reason(error: BaseException) -> str:
    inner = error.__cause__ or error.__context__ or error
    told = getattr(inner, "strerror", None) or getattr(error, "strerror", None)
    return str(told or type(inner).__name__)


def _short(text: str) -> str:
    line = re.sub(r"\s+", " ", text).strip()
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
