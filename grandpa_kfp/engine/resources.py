"""What tasks ask of the machine while they run, what there is of it, and who holds how much. Pure accounting.

`cpu` counts in thousandths of a core, `memory` in bytes, `gpu` in devices, tokens (`uses=`) one by one. `Limits` makes
a `Request` of a task's options, once for all tasks with the same ones; `Budget` keeps the account of one run;
`rationing.py` asks it which ready task may start.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from grandpa_kfp_compiler.graph import Call, Options
from grandpa_kfp_compiler.options.rules import amount, amount_text, is_cpu, is_size
from grandpa_kfp_runtime.errors import ParameterError

from . import machine

CPU, MEMORY, GPU = "cpu", "memory", "gpu"
_MACHINE = (CPU, MEMORY, GPU)

Asked = Mapping[str, int]
"""Amounts by the names of resources, none of them 0."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a task holds while it runs, no more of anything than there is.

    alone: it asked for more, and nothing else runs beside it.
    """

    amounts: tuple[tuple[str, int], ...]
    alone: bool = False

    @property
    def threads(self) -> int:
        """How many threads numeric libraries get, 0 where it says nothing of cpu.

        >>> Request((("cpu", 2500),)).threads, Request((("cpu", 500),)).threads, Request((("gpu", 1),)).threads
        (2, 1, 0)
        """
        cpu_m = dict(self.amounts).get(CPU)
        return max(1, cpu_m // 1000) if cpu_m else 0

    @property
    def gpus(self) -> int:
        return dict(self.amounts).get(GPU, 0)


class Limits:
    """How much of everything running tasks may hold together.

    given: by name, as `limits=` has it; what it does not name of cpu, memory and gpu is what the machine has, looked
    up when a task first asks for it. note: told, once a node, of tasks that ask for more than there is.

    Raises ParameterError for limits that cannot be.

    >>> limits = Limits({"cpu": 8, "memory": "16Gi", "licence": 2})
    >>> limits.request({"cpu": 500, "licence": 1}, "train")
    Request(amounts=(('cpu', 500), ('licence', 1)), alone=False)
    """

    __slots__ = ("_devices", "_given", "_note", "_requests", "_told")

    def __init__(self, given: Mapping[str, Any] | None = None, note: Callable[[str], None] = lambda text: None) -> None:
        self._given = read_limits(given or {})
        self._note = note
        self._devices: tuple[str, ...] | None = None
        self._requests: dict[tuple[tuple[str, int], ...], Request] = {}
        self._told: set[tuple[str, str]] = set()

    def faults(self, asked: Asked, who: str) -> list[str]:
        """What can never be had, in words: tokens that no limit names, or more of them than there are."""
        found = []
        for name, count in asked.items():
            if name in _MACHINE:
                continue
            if name not in self._given:
                tokens = [other for other in self._given if other not in _MACHINE]
                near = difflib.get_close_matches(name, tokens, 1)
                hint = f"did you mean {near[0]!r}? Else say" if near else "say"
                found.append(
                    f"{who}: uses {name!r}, which no limit names; {hint} how many there are: "
                    f"limits={{{name!r}: {count}}}, or --limit {name}={count}"
                )
            elif count > self._given[name]:
                found.append(f"{who}: uses {count} of {name!r}, but the limit is {self._given[name]}")
        return found

    def check(self, calls: Iterable[Call]) -> None:
        """Raises ParameterError for what the calls can never have, every fault in it."""
        faults = [fault for call in calls for fault in self.faults(asked_by(call.options), _who(call))]
        if faults:
            raise ParameterError("\n".join(dict.fromkeys(faults)))

    def of(self, call: Call) -> Request | None:
        """What a call's task holds while it runs; None for nothing. Raises as `request` does."""
        asked = asked_by(call.options)
        return self.request(asked, _who(call)) if asked else None

    def request(self, asked: Asked, who: str) -> Request | None:
        """The Request of that much. Raises ParameterError for what can never be had."""
        if not asked:
            return None
        key = tuple(asked.items())
        found = self._requests.get(key)
        if found is None:
            faults = self.faults(asked, who)
            if faults:
                raise ParameterError("\n".join(faults))
            held = tuple((name, min(count, self.limit(name))) for name, count in key)
            found = self._requests[key] = Request(held, held != key)
        if found.alone:
            for (name, count), (_, there) in zip(key, found.amounts, strict=True):
                if count > there and (who, name) not in self._told:
                    self._told.add((who, name))
                    self._note(
                        f"{who}: asks for {_shown(name, count)}, but there is {_shown(name, there)}: it runs alone"
                    )
        return found

    def limit(self, name: str) -> int:
        """How much there is."""
        if name == GPU:
            return len(self.devices)
        known = self._given.get(name)
        if known is None:
            known = self._given[name] = int(machine.cores() * 1000) if name == CPU else machine.memory_bytes()
        return known

    @property
    def devices(self) -> tuple[str, ...]:
        """The GPUs that are handed out. Where none are seen, as many as the limit says, by number."""
        if self._devices is None:
            seen, most = machine.gpus(), self._given.get(GPU)
            self._devices = seen[:most] if seen else tuple(map(str, range(most or 0)))
        return self._devices


class Budget:
    """Who holds what. Holders are tasks by number. preferred: GPUs that the next to take some gets, if they are free.

    >>> limits = Limits({"cpu": 2})
    >>> one, two = limits.request({"cpu": 1000}, "a"), limits.request({"cpu": 2000}, "b")
    >>> budget = Budget(limits)
    >>> budget.fits(two), budget.take(0, one), budget.fits(two), budget.fits(one), budget.fits(one, beside=one)
    (True, None, False, True, False)
    >>> budget.give_back(0), budget.fits(two)
    (None, True)
    """

    __slots__ = ("_devices", "_free", "_gpus", "_held", "_limits", "preferred")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._free: dict[str, int] = {}
        self._held: dict[int, Request] = {}
        self._gpus: list[str] | None = None  # those that nobody has
        self._devices: dict[int, tuple[str, ...]] = {}
        self.preferred: tuple[str, ...] = ()

    @property
    def alone(self) -> bool:
        """Whether a task runs that nothing may run beside."""
        return any(request.alone for request in self._held.values())

    def fits(self, request: Request, beside: Request | None = None) -> bool:
        """Whether that much is free; with `beside` even after that one had got its own."""
        if request.alone:
            return not self._held
        kept = dict(beside.amounts) if beside is not None else {}
        return all(count <= self._left(name) - kept.get(name, 0) for name, count in request.amounts)

    def take(self, task: int, request: Request) -> None:
        """The task holds it from now on; it fits."""
        self._held[task] = request
        for name, count in request.amounts:
            self._free[name] = self._left(name) - count
            if name == GPU and count:
                mine = self.preferred if self.has(self.preferred, count) else tuple(self._unheld()[:count])
                self._devices[task] = mine
                self._gpus = [name for name in self._unheld() if name not in mine]

    def give_back(self, task: int) -> None:
        """The task holds nothing any more. Nothing happens where it held nothing."""
        request = self._held.pop(task, None)
        if request is None:
            return
        for name, count in request.amounts:
            self._free[name] += count
        devices = self._devices.pop(task, ())
        if devices:
            self._gpus = [name for name in self._limits.devices if name in devices or name in self._unheld()]

    def has(self, devices: tuple[str, ...], count: int) -> bool:
        """Whether these are so many GPUs, and nobody holds one of them."""
        return len(devices) == count and all(name in self._unheld() for name in devices)

    def _unheld(self) -> list[str]:
        if self._gpus is None:
            self._gpus = list(self._limits.devices)
        return self._gpus

    def devices(self, task: int) -> tuple[str, ...]:
        """The GPUs that the task holds."""
        return self._devices.get(task, ())

    def env(self, task: int) -> tuple[tuple[str, str], ...]:
        """The variables that show the task the GPUs that it holds; empty where it holds none."""
        devices = self._devices.get(task)
        return ((machine.VISIBLE_DEVICES, ",".join(devices)),) if devices else ()

    def _left(self, name: str) -> int:
        left = self._free.get(name)
        return self._limits.limit(name) if left is None else left


def asked_by(options: Options) -> dict[str, int]:
    """What a task's options ask for, by name; of a pair (request, limit) the request.

    >>> asked_by(Options(cpu="2", memory=("1Gi", "4Gi"), uses=(("licence", 1),)))
    {'cpu': 2000, 'memory': 1073741824, 'licence': 1}
    """
    if options.cpu is None and options.memory is None and not options.gpu and not options.uses:
        return _NOTHING
    asked = {
        CPU: _amount(options.cpu, 1000),
        MEMORY: _amount(options.memory, 1),
        GPU: options.gpu or 0,
        **dict(sorted(options.uses or ())),
    }
    return {name: count for name, count in asked.items() if count}


def read_limits(given: Mapping[str, Any]) -> dict[str, int]:
    """`limits=` as amounts by name. Raises ParameterError with every fault.

    >>> read_limits({"cpu": "1500m", "memory": "2Gi", "licence": "3"})
    {'cpu': 1500, 'memory': 2147483648, 'licence': 3}
    """
    found: dict[str, int] = {}
    faults = []
    for name, value in given.items():
        text = amount_text(value)
        if not isinstance(name, str) or not name.strip():
            faults.append(f"limits holds {name!r}, which is no name of a resource")
        elif name in (CPU, MEMORY):
            if not (is_cpu if name == CPU else is_size)(text):
                wanted = "a number of cores above 0" if name == CPU else "a size above 0, such as '16Gi'"
                faults.append(f"the limit of {name} must be {wanted}, but is {value!r}")
            else:
                found[name] = _amount(text, 1000 if name == CPU else 1)
        elif isinstance(text, str) and text.isdecimal():
            found[name] = int(text)
        else:
            faults.append(f"the limit of {name} must be a whole number, 0 or more, but is {value!r}")
    if faults:
        raise ParameterError("\n".join(faults))
    return found


def _amount(value: Any, units: int) -> int:
    if value is None:
        return 0
    text = value if isinstance(value, str) else value[0]
    return max(1, round(amount(text) * units))


def _shown(name: str, count: int) -> str:
    """An amount as a person writes it.

    >>> _shown("cpu", 1500), _shown("memory", 3 * 2**30), _shown("gpu", 0)
    ('cpu 1.5', 'memory 3Gi', 'gpu 0')
    """
    if name == CPU:
        return f"{name} {count / 1000:g}"
    if name == MEMORY:
        for unit, size in (("Gi", 2**30), ("Mi", 2**20)):
            if count >= size:
                return f"{name} {count / size:.4g}{unit}"
    return f"{name} {count}"


def _who(call: Call) -> str:
    where = call.where or call.node.where
    return f"{call.node.name} ({where})" if where else call.node.name


_NOTHING: dict[str, int] = {}
