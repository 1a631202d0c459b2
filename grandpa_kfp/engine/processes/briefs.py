"""What workers must know of each task of a run, made when the task is first given out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from grandpa_kfp_compiler.graph import Call, Constant, TaskOutput
from grandpa_kfp_runtime.contract import Interface
from grandpa_kfp_runtime.errors import TaskError
from grandpa_kfp_runtime.stores import Store
from grandpa_kfp_runtime.values.codecs import encode
from grandpa_kfp_runtime.values.frames import plain
from grandpa_kfp_runtime.values.objects import pack

from .. import environment
from ..plan import Plan
from ..reports import Failing, failure
from ..values import is_plain, is_shareable
from . import segments, specs
from .memory import Memory
from .parcels import INLINE_BYTES, PLAIN, SEGMENT, STORED, Key, Parcel, packed


@dataclass(frozen=True, slots=True)
class Brief:
    """One task. sources: for each input of the interface the output it reads, or a constant's parcel;
    shape: a number that tasks of the same node and interface share."""

    id: str
    where: str
    node: str
    interface: Interface
    shape: int
    sources: tuple[Key | Parcel, ...]
    env: environment.Setting | None
    flags: int
    secrets: tuple[str, ...]


class Briefs:
    """parameters: of the run, by name; spool: the store for what must lie on disk; main: whether constants may name
    classes of the script that runs as `__main__`, which workers know by that name too."""

    def __init__(
        self,
        plan: Plan,
        parameters: Mapping[str, Constant],
        setting: specs.Setting,
        memory: Memory,
        spool: Callable[[], Store],
        *,
        shares_store: bool,
    ) -> None:
        self.setting = setting
        self.shares_store = shares_store
        self._plan = plan
        self._parameters = parameters
        self._memory = memory
        self._spool = spool
        self._made: dict[int, Brief] = {}
        self._shapes: dict[tuple[str, Interface], int] = {}
        self._constants: dict[int, tuple[Constant, Parcel]] = {}
        self._settings = environment.settings([dict(call.options.env or ()) for call in plan.calls])
        self.makers: Mapping[str, int] = {call.id: number for number, call in enumerate(plan.calls)}

    def __getitem__(self, task: int) -> Brief:
        brief = self._made.get(task)
        if brief is None:
            brief = self._made[task] = self._make(task)
        return brief

    def calls(self) -> Sequence[Call]:
        return self._plan.calls

    def report(self, task: int, attempt: int, error: BaseException) -> TaskError:
        """What the run raises for a task that no worker could tell of."""
        return failure(
            Failing.of(self._plan.calls[task]),
            self.setting.run_id,
            attempt,
            error,
            inputs={},
            handles={},
            root=self.setting.root,
        )

    def _make(self, task: int) -> Brief:
        call, bound = self._plan.calls[task], self._plan.bounds[task]
        shape = self._shapes.setdefault((call.node.key, bound.interface), len(self._shapes))
        sources: list[Key | Parcel] = []
        for name, leaf in bound.sources:
            if type(leaf) is TaskOutput:
                sources.append((leaf.task, leaf.output))
            else:
                constant = leaf if isinstance(leaf, Constant) else self._parameters[leaf.name]  # type: ignore[union-attr]
                sources.append(self._constant(constant, name))
        options = call.options
        return Brief(
            call.id,
            call.where or call.node.where,
            call.node.key,
            bound.interface,
            shape,
            tuple(sources),
            self._settings[task] or None if self._settings is not None else None,
            specs.VERBOSE if options.verbose else 0,
            tuple([name for name, _ in options.secrets or ()]),
        )

    def _constant(self, constant: Constant, name: str) -> Parcel:
        """Encoded once, whoever reads it. Raises CodecError, calling it `name`."""
        if constant.handle is not None:
            return (STORED, constant.handle, False)
        value = constant.value
        if is_shareable(value, paths=True):
            return (PLAIN, value)
        known = self._constants.get(id(constant))
        if known is None:
            known = self._constants[id(constant)] = (constant, self.parcel(value, name))
        return known[1]

    def parcel(self, value: object, name: str, *, files: bool = False) -> Parcel:
        """A value of this process for any worker. Raises CodecError."""
        encoded = encode(value, name=name, files=files, here=bool(self.setting.main))
        if not is_plain(encoded):
            return (STORED, f"@{self._spool().write(pack(encoded))}", True)
        if encoded.size_bytes <= INLINE_BYTES:
            return packed(encoded)
        frames = [plain(frame) for frame in encoded.frames]
        layout, size_bytes = segments.layout_of([frame.nbytes for frame in frames])
        number = self._memory.create(size_bytes)
        segments.write(self._memory.descriptor(number), layout, frames)
        return (SEGMENT, number, layout, encoded.codec, encoded.meta)
