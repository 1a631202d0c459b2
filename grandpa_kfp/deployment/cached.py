"""What a task took and gave that Kubeflow has taken from its cache: such a task leaves no record in its run.

Its inputs follow from the pipeline, as Kubeflow's own look into its cache does; its outputs stand in the record of the
task that computed them: of the same name, with the same code and the same inputs, in another run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from grandpa_kfp_runtime.contract import TaskCall
from grandpa_kfp_runtime.stores import Store

from ..engine.kfp_pipeline import FromConstant, FromParameter, FromTask, Source, YamlPipeline, YamlTask
from ..engine.kfp_values import arrives, from_output_file
from .task_records import Record, TaskRecords


def add_cached(
    records: TaskRecords, names: Iterable[str], pipeline: YamlPipeline, parameters: Mapping[str, Any], store: Store
) -> None:
    """Adds what is found of the tasks of these names. Raises StoreError.

    Where another task of the name is in the pipeline, or a record is gone, nothing is added.
    """
    search = _Search(records, pipeline, parameters, store)
    for name in names:
        search.add(name)


class _Search:
    """The tasks of one run. Their outputs are looked for once each."""

    def __init__(
        self, records: TaskRecords, pipeline: YamlPipeline, parameters: Mapping[str, Any], store: Store
    ) -> None:
        self._records = records
        self._pipeline = pipeline
        self._parameters = {item.name: parameters.get(item.name, item.default) for item in pipeline.parameters}
        self._store = store
        self._paths: list[str] | None = None
        self._tried: set[str] = set()

    def add(self, name: str) -> bool:
        """Whether the task's outputs are known now."""
        if name in self._records.done:
            return True
        ours = [task for task in self._pipeline.dag.tasks if task.container is not None and task.container.is_task]
        found = [task for task in ours if _name(task) == name]
        if name in self._tried or len(found) != 1:
            return False
        self._tried.add(name)
        inputs = self._inputs(found[0])
        if inputs is None:
            return False
        (task,) = found
        assert task.container is not None
        call, _ = TaskCall.from_argv(task.container.args)
        raw = [item.name for item in call.interface.inputs if item.kind == "raw"]
        about = {"task": name, "node": call.node, "fingerprint": call.fingerprint}
        self._records.started[name] = {**about, "inputs": inputs, "raw": raw}
        record = self._computed(name, call, inputs)
        if record is None:
            return False
        self._records.done[name] = record
        return True

    def _inputs(self, task: YamlTask) -> dict[str, Any] | None:
        """As its container would have got them; None where one is not known."""
        found = {}
        for item in task.inputs:
            value = self._value(item.source)
            if value is _UNKNOWN:
                return None
            found[item.name] = arrives(value, item.type)
        return found

    def _value(self, source: Source) -> Any:
        if isinstance(source, FromConstant):
            return source.value
        if isinstance(source, FromParameter):
            return self._parameters.get(source.name, _UNKNOWN)
        if not isinstance(source, FromTask):
            return _UNKNOWN  # which branch was taken is not known here
        maker = self._pipeline.dag.tasks[source.task]
        if not self.add(_name(maker)):
            return _UNKNOWN
        text = self._records.done[_name(maker)].get("outputs", {}).get(source.output)
        return _UNKNOWN if text is None else from_output_file(text, dict(maker.outputs)[source.output])

    def _computed(self, name: str, call: TaskCall, inputs: Mapping[str, Any]) -> Record | None:
        """The newest record of the same call with the same inputs, in any run."""
        if self._paths is None:
            self._paths = [path for path in self._store.list_records("runs/") if path.endswith("/done.json")]
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in inputs.items()}
        same = []
        for path in self._paths:
            if f"/{name}/" not in path:
                continue
            record = self._store.get_record(path)
            if isinstance(record, dict) and (record.get("node"), record.get("fingerprint")) == (
                call.node,
                call.fingerprint,
            ):
                same += [record] if record.get("inputs") == texts else []
        return max(same, key=lambda record: float(record.get("ended_at") or 0), default=None)


_UNKNOWN = object()


def _name(task: YamlTask) -> str:
    return task.id.rpartition("/")[2]
