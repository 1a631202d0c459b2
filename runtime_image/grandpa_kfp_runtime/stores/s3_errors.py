"""What a failed request to an S3 server means: which StoreError, and whether it helps to ask again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from ..contract import ENV_ACCESS_KEY, ENV_SECRET_KEY
from ..errors import StoreDenied, StoreError, StoreFull, StoreUnavailable

MISSING = {"NoSuchKey", "404"}  # the latter from servers that do not say it in XML
_DENIED = {
    "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthorizationHeaderMalformed",
    "AccountProblem", "AllAccessDisabled", "401", "403",
}  # fmt: skip
_EXPIRED = {"ExpiredToken", "TokenRefreshRequired", "ExpiredTokenException"}
_CLOCK = {"RequestTimeTooSkewed", "RequestExpired"}
_FULL = {
    "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded", "InsufficientStorage", "EntityTooLarge",
    "507",
}  # fmt: skip
_BUSY = {
    "SlowDown", "SlowDownRead", "SlowDownWrite", "InternalError", "ServiceUnavailable", "XMinioServerNotInitialized",
    "RequestTimeout", "OperationTimedOut", "XMinioInsufficientReadQuorum", "XMinioInsufficientWriteQuorum",
    "OperationAborted", "ConditionalRequestConflict", "408", "429", "500", "502", "503", "504",
}  # fmt: skip
_GARBLED = {"BadDigest", "IncompleteBody", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}
_MOST_SKEW_S = 15 * 60  # what servers allow


class Refused(Exception):
    """An answer that is no success, to a request of ours; looks like the MinIO client's own errors."""

    def __init__(self, response: Any) -> None:
        found = re.search(rb"<Code>(\w+)</Code>", response.data or b"")
        self.code = found[1].decode() if found else str(response.status)
        self.response = response
        super().__init__(self.code)


def code_of(error: BaseException) -> str:
    """The S3 code, else the HTTP status, of an answer that was an error; empty where none came."""
    code = getattr(error, "code", None)
    if isinstance(code, str) and code:
        return code
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return str(status)
    found = re.search(r"Response code: (\d{3})", str(error)) if type(error).__name__ == "InvalidResponseError" else None
    return found[1] if found else ""


def reason(error: BaseException) -> str:
    """What happened, in a word or two: `SlowDown`, `Connection refused`."""
    code = code_of(error)
    if code:
        return code
    inner: BaseException | None = error
    while inner is not None:
        error = inner
        inner = getattr(inner, "reason", None)
        inner = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
    return getattr(error, "strerror", None) or str(error)[:80] or type(error).__name__


def is_passing(error: BaseException) -> bool:
    """Whether the same request may succeed a little later."""
    code = code_of(error)
    return code in _BUSY or code in _GARBLED or (not code and _is_interruption(error))


def _is_interruption(error: BaseException) -> bool:
    from urllib3.exceptions import HTTPError, SSLError

    if isinstance(error, SSLError):
        return "CERTIFICATE_VERIFY_FAILED" not in str(error)
    return isinstance(error, HTTPError | ConnectionError | TimeoutError)


def no_bucket(where: str) -> StoreError:
    return StoreError(f"{where}: the bucket does not exist; make it, or name another one with --store")


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turns the client's errors into this project's; takes over no text of the client's that could hold a secret."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        made = _explanation(where, code_of(error), error)
        if made is None:
            raise
        raise made from error


def _explanation(where: str, code: str, error: Exception) -> StoreError | None:
    if code == "NoSuchBucket":
        return no_bucket(where)
    if code in _CLOCK or (code in _DENIED and _clocks_differ(error)):
        return StoreDenied(f"{where}: {_clocks(error)} ({code}); set the one that is wrong")
    if code in _EXPIRED:
        return StoreDenied(f"{where}: the credentials have expired ({code}); get new ones and set them")
    if code in _DENIED:
        return StoreDenied(
            f"{where}: access denied ({code}); check {ENV_ACCESS_KEY} and {ENV_SECRET_KEY} "
            "(or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), and the right to read and write this bucket"
        )
    if code in _FULL:
        return StoreFull(f"{where}: the store is full ({code}); free some space or raise its quota")
    if code in _GARBLED:
        return StoreError(f"{where}: bytes arrive there changed ({code}); something on the way to it damages them")
    if code in _BUSY or re.fullmatch(r"5\d\d", code) or is_passing(error):
        return StoreUnavailable(
            f"{where}: the server does not answer as it should ({reason(error)}); "
            "is it running, and is its address right?"
        )
    if _is_untrusted(error):
        return StoreUnavailable(
            f"{where}: the server's certificate is not trusted; set SSL_CERT_FILE to the authority's certificate"
        )
    if code or isinstance(error, ValueError | OSError):
        return StoreError(f"{where}: {code or error}")
    return None


def _is_untrusted(error: BaseException) -> bool:
    return "CERTIFICATE_VERIFY_FAILED" in str(error)


def _clocks_differ(error: BaseException) -> bool:
    """A refused HEAD has no body that would say why; the server's time is in its headers."""
    served = _served_at(error)
    return served is not None and abs((datetime.now(timezone.utc) - served).total_seconds()) > _MOST_SKEW_S


def _clocks(error: BaseException) -> str:
    here, served = datetime.now(timezone.utc), _served_at(error)
    there = "is another" if served is None else f"says {served:%Y-%m-%d %H:%M:%S} UTC"
    return f"this machine's clock says {here:%Y-%m-%d %H:%M:%S} UTC, the server's {there}"


def _served_at(error: BaseException) -> datetime | None:
    """The server's time when it answered."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        served = parsedate_to_datetime(headers.get("Date", ""))
    except (TypeError, ValueError):
        return None
    return served if served.tzinfo is not None else served.replace(tzinfo=timezone.utc)
