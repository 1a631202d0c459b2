"""From a task's backoff options to the pauses that KFP can make between its attempts.

KFP hands its retryPolicy to Argo. Of that only whole seconds and whole factors arrive, and no bound on one
pause: backoffMaxDuration counts from the first attempt's start, running time included, so it says how long
a task may be retried at all, which a user of `backoff_max_s` does not mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..graph import Options

_FIRST_S = 1.0
_FACTOR = 2.0
"""What the local engine takes where the user says nothing."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """The first pause in seconds, and by what each next one is longer."""

    first_s: int = 0
    factor: int = 2


NO_BACKOFF = Backoff()


def backoff(options: Options) -> Backoff:
    """The nearest that KFP can do: pauses are never shorter than asked for, and none is above `backoff_max_s`.

    Where growing pauses would pass `backoff_max_s`, each is that long. Without any of the options there is no
    pause: a new pod takes its time as it is.

    >>> backoff(Options(retries=3, backoff_s=2.5)), backoff(Options(retries=9, backoff_s=1, backoff_max_s=60))
    (Backoff(first_s=3, factor=2), Backoff(first_s=60, factor=1))
    """
    if options.backoff_s is options.backoff_factor is options.backoff_max_s is None:
        return NO_BACKOFF
    first_s = math.ceil(_FIRST_S if options.backoff_s is None else options.backoff_s)
    factor = math.ceil(_FACTOR if options.backoff_factor is None else options.backoff_factor)
    most_s = options.backoff_max_s
    last = min(max((options.retries or 0) - 1, 0), 64)  # what is longer than that is too long whatever it is
    if most_s is not None and first_s * factor**last > most_s:
        return Backoff(max(1, math.floor(most_s)), 1)
    return Backoff(first_s, factor)
