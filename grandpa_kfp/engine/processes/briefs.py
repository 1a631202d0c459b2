"""What workers must know of each task of a run, made when the task is first given out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from grandpa_kfp_compiler.bind import Bound
from grandpa_kfp_compiler.graph import Constant, Outcome, TaskOutput
from grandpa_kfp_runtime.contract import Interface
from grandpa_kfp_runtime.errors import TaskError
from grandpa_kfp_runtime.stores import Store
from grandpa_kfp_runtime.values.codecs import encode
from grandpa_kfp_runtime.values.frames import plain
from grandpa_kfp_runtime.values.objects import pack

from .. import environment
from ..growth import Growth, TaskTable
from ..reports import Failing, failure
from ..values import is_plain, is_shareable
from . import segments, specs
from .fragments import GATHER, gathering
from .memory import Memory
from .parcels import INLINE_BYTES, OUTCOME, PLAIN, SEGMENT, STORED, Key, Parcel, Parceled, packed


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
        table: TaskTable,
        parameters: Mapping[str, Constant],
        setting: specs.Setting,
        memory: Memory,
        spool: Callable[[], Store],
        *,
        shares_store: bool,
    ) -> None:
        self.setting = setting
        self.shares_store = shares_store
        self._table = table
        self._parameters = parameters
        self._memory = memory
        self._spool = spool
        self._made: dict[int, Brief] = {}
        self._shapes: dict[tuple[str, Interface], int] = {}
        self._constants: dict[int, tuple[Constant, Parcel]] = {}
        self.code: dict[str, bytes] = {}
        self.makers: dict[str, int] = {run.id: number for number, run in enumerate(table.runs)}

    def __getitem__(self, task: int) -> Brief:
        brief = self._made.get(task)
        if brief is None:
            brief = self._made[task] = self._make(task)
        return brief

    def added(self, tasks: Iterable[int], code: Mapping[str, bytes]) -> None:
        """Tasks that the table has now. code: of nodes among them that nobody could import."""
        self.makers.update((self._table.runs[task].id, task) for task in tasks)
        self.code.update(code)

    def forget_inputs(self, task: int) -> None:
        """The task has grown: it reads nothing more, until all that it has become has ended."""
        self._made[task] = replace(self[task], sources=())
        self._table.forget_inputs(task)

    def resume(self, task: int, parts: int) -> None:
        """The task's body runs again, for what comes after so many parts."""
        brief = self[task]
        self._made[task] = replace(brief, flags=brief.flags % specs.PARTS + parts * specs.PARTS)

    def gather(self, task: int, growth: Growth) -> None:
        """From now on the task is the making of its outputs from what it has become."""
        bound = gathering(growth.results, growth.outputs)
        brief = self[task]
        shape = self._shapes.setdefault((GATHER, bound.interface), len(self._shapes))
        self._made[task] = replace(
            brief,
            node=GATHER,
            interface=bound.interface,
            shape=shape,
            sources=self._sources(bound, growth.scope.prefix),
            flags=specs.LISTED if growth.listed else 0,
        )

    def forget(self, task: int) -> None:
        """The task has ended."""
        self._made.pop(task, None)
        if self._table.is_added(task):
            self.makers.pop(self._table.runs[task].id, None)
        self._table.forget(task)

    def report(self, task: int, attempt: int, error: BaseException) -> TaskError:
        """What the run raises for a task that no worker could tell of."""
        return failure(
            replace(Failing.of(self._table.calls[task]), id=self._table.runs[task].id),
            self.setting.run_id,
            attempt,
            error,
            inputs={},
            handles={},
            root=self.setting.root,
        )

    def outcome(self, task: int, errors: Sequence[TaskError]) -> Parcel:
        """How what a task waits for that runs always has ended."""
        found = self._table.outcome(task, errors, self._parameters)
        return (PLAIN, None) if found is None else self.parcel(found, "outcome")

    def _make(self, task: int) -> Brief:
        table = self._table
        call, bound = table.calls[task], table.bounds[task]
        shape = self._shapes.setdefault((call.node.key, bound.interface), len(self._shapes))
        options = call.options
        return Brief(
            table.runs[task].id,
            call.where or call.node.where,
            call.node.key,
            bound.interface,
            shape,
            self._sources(bound, table.scopes[task].prefix),
            table.settings[task] or None,
            specs.VERBOSE if options.verbose else 0,
            tuple([name for name, _ in options.secrets or ()]),
        )

    def _sources(self, bound: Bound, prefix: str) -> tuple[Key | Parcel, ...]:
        sources: list[Key | Parcel] = []
        for name, leaf in bound.sources:
            if type(leaf) is TaskOutput:
                sources.append((prefix + leaf.task, leaf.output))
            elif isinstance(leaf, Parceled):
                sources.append(leaf.parcel)
            elif isinstance(leaf, Outcome):
                sources.append((OUTCOME,))
            else:
                constant = leaf if isinstance(leaf, Constant) else self._parameters[leaf.name]  # type: ignore[union-attr]
                sources.append(self._constant(constant, name))
        return tuple(sources)

    def way_to(self, task: int) -> str:
        """How the run came to the task, for its report."""
        return self._table.way_to(task)

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
        number = 0
        try:
            number = self._memory.create(size_bytes)
            segments.write(self._memory.descriptor(number), layout, frames)
        except OSError:  # no room in shared memory
            self._memory.release(number)
            return (STORED, f"@{self._spool().write(pack(encoded))}", True)
        return (SEGMENT, number, layout, encoded.codec, encoded.meta)
