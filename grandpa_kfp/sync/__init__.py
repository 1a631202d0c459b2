"""Objects that nodes share: `Queue`, `List`, `Dict`, `Value`, `Lock`, `Semaphore`, `Event`.

Made in a workflow's body and passed to nodes as arguments; they work on threads and across processes alike.

    shared.py     what all of them are: a core where they were made, a link elsewhere
    objects.py    their methods
    cores.py      their state, and requests that wait
    serving.py    the owner's end of a Unix socket, links.py the other
    parcels.py    values on their way in and out

>>> from grandpa_kfp import Node, Workflow, run, sync
>>> @Node
... def add(total, amount: int) -> None:
...     total.add(amount)
>>> @Workflow
... def flow():
...     total = sync.Value(0)
...     return read(total, after=[add(total, 1), add(total, 2)])
>>> @Node
... def read(total, after) -> int:
...     return total.value
>>> run(flow, record=False).value
3
"""

from __future__ import annotations

from .objects import Dict, Event, List, Lock, Queue, Semaphore, Value

__all__ = ["Dict", "Event", "List", "Lock", "Queue", "Semaphore", "Value"]
