"""The fallback of a task that has failed for good, in place of its outputs: made here, where no worker is needed."""

from __future__ import annotations

from collections.abc import Mapping

from grandpa_kfp_runtime.task import split_outputs
from grandpa_kfp_runtime.values.handles import from_constant, inline_constant

from ..main_module import main_by_its_name
from .state import State


def put_fallback(state: State, task: int, fallback: str) -> Mapping[str, str]:
    """Puts the outputs where the task's consumers find them; their handles, where the run is recorded.

    fallback: a handle that holds all of the value. Raises TaskError where it does not fit the declared outputs, and
    CodecError.
    """
    brief = state.briefs[task]
    with main_by_its_name():
        outputs = split_outputs(from_constant(fallback), brief.interface.outputs)
        for name, value in outputs.items():
            if state.outputs.uses.get((brief.id, name)):
                state.outputs.put((brief.id, name), state.briefs.parcel(value, name))
        if not state.briefs.setting.store:
            return {}
        return {name: inline_constant(value, name=name) for name, value in outputs.items()}
