"""A fused step: the local engine inside one container of Kubeflow's, running the graph that the step is.

step.py     one step from its graph file to its outputs; the container's launcher opens it
tasks.py    what a lane does for one of its tasks, where that differs from a run on this machine
values.py   values in memory; those of the step's inputs are read from the store when they are wanted
kept.py     what had finished when an attempt failed, stored then, and taken by the next one
telling.py  its tasks' events under the step's name, and what the records say of them
"""

from __future__ import annotations

from .step import open_step

__all__ = ["open_step"]
