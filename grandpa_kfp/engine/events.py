"""The events of runs, as engines and users import them: `from grandpa_kfp import events`."""

from __future__ import annotations

from grandpa_kfp_runtime.events.journal import Journal as Journal
from grandpa_kfp_runtime.events.kinds import KINDS as KINDS
from grandpa_kfp_runtime.events.kinds import ArtifactLogged as ArtifactLogged
from grandpa_kfp_runtime.events.kinds import Event as Event
from grandpa_kfp_runtime.events.kinds import MetricsLogged as MetricsLogged
from grandpa_kfp_runtime.events.kinds import ParamsLogged as ParamsLogged
from grandpa_kfp_runtime.events.kinds import ProgressMade as ProgressMade
from grandpa_kfp_runtime.events.kinds import RunFinished as RunFinished
from grandpa_kfp_runtime.events.kinds import RunStarted as RunStarted
from grandpa_kfp_runtime.events.kinds import TaskCached as TaskCached
from grandpa_kfp_runtime.events.kinds import TaskDropped as TaskDropped
from grandpa_kfp_runtime.events.kinds import TaskFailed as TaskFailed
from grandpa_kfp_runtime.events.kinds import TaskFinished as TaskFinished
from grandpa_kfp_runtime.events.kinds import TaskGrew as TaskGrew
from grandpa_kfp_runtime.events.kinds import TaskPrinted as TaskPrinted
from grandpa_kfp_runtime.events.kinds import TaskQueued as TaskQueued
from grandpa_kfp_runtime.events.kinds import TaskRetried as TaskRetried
from grandpa_kfp_runtime.events.kinds import TaskStarted as TaskStarted
from grandpa_kfp_runtime.events.subscribers import Callback as Callback
from grandpa_kfp_runtime.events.subscribers import Listener as Listener
from grandpa_kfp_runtime.events.subscribers import Subscriber as Subscriber
from grandpa_kfp_runtime.events.subscribers import as_listener as as_listener
