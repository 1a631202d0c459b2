"""The API of a Kubeflow Pipelines server as a few functions, over the real kfp.Client.

Every room of this package asks through `Server`. Answers are plain JSON, so that a page of HTML, an older
or a newer server are seen for what they are; requests are the API's own models, so that none is malformed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grandpa_kfp_runtime.errors import DeployError

from . import answers

_CONNECT_S = 5.0
_READ_S = 30.0
_UPLOAD_READ_S = 180.0  # 32 MiB through a slow line
_TRIES = 3
_PAUSE_S = 0.4
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Health:
    """What the server says of itself. version: empty where it does not say."""

    version: str
    multi_user: bool


class Server:
    """A connection; `close` ends the forwarded port, where there is one.

    host: for messages, without credentials. ui: the address of its web pages, empty where none is known.
    namespace: of the user, empty for a server with one user.
    """

    def __init__(
        self,
        client: Any,
        host: str,
        *,
        ui: str = "",
        namespace: str = "",
        closing: Callable[[], None] | None = None,
        pause_s: float = _PAUSE_S,
    ) -> None:
        self._client = client
        self._closing = closing
        self._pause_s = pause_s
        self.host = answers.public_url(host)
        self.ui = answers.public_url(ui).rstrip("/")
        self.namespace = namespace

    def __repr__(self) -> str:
        return f"Server({self.host!r})"

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        if self._closing is not None:
            closing, self._closing = self._closing, None
            closing()

    def run_url(self, run_id: str) -> str:
        """The run's page; empty where the address of the web pages is not known."""
        return f"{self.ui}/#/runs/details/{run_id}" if self.ui else ""

    # --- asking --------------------------------------------------------------------------------------

    def health(self, *, tries: int = 1) -> Health:
        data = self._get("reach the server", self._client.healthzs.healthz_service_get_healthz, tries=tries)
        version = data.get("tag_name") or ""
        return Health("" if version == "unknown" else str(version), bool(data.get("multi_user")))

    def pipeline_named(self, name: str) -> dict[str, Any] | None:
        """The pipeline that is shown under a name, None where there is none."""
        found = self._get(
            f"look for the pipeline {name}",
            self._client.pipelines.pipeline_service_list_pipelines,
            filter=_equals("display_name", name),
            page_size=_PAGE,
            **self._of_namespace(),
        )
        return next((item for item in found.get("pipelines") or () if item.get("display_name", name) == name), None)

    def upload_pipeline(self, file: Path, name: str, description: str) -> dict[str, Any]:
        """A new pipeline with its first version, whose description is the pipeline's. Status 409: the name is taken."""
        return self._send(
            f"upload the pipeline {name}",
            self._client.pipeline_uploads.upload_pipeline,
            str(file),
            name=name,
            display_name=name,
            description=description,
            timeout_s=_UPLOAD_READ_S,
            **self._of_namespace(),
        )

    def upload_version(self, file: Path, pipeline_id: str, name: str, description: str) -> dict[str, Any]:
        return self._send(
            f"upload version {name} of the pipeline",
            self._client.pipeline_uploads.upload_pipeline_version,
            str(file),
            name=name,
            display_name=name,
            description=description,
            pipelineid=pipeline_id,
            timeout_s=_UPLOAD_READ_S,
        )

    def versions(self, pipeline_id: str) -> Iterator[dict[str, Any]]:
        """The pipeline's versions, newest first, page by page."""
        return self._pages(
            "pipeline_versions",
            "list the pipeline's versions",
            self._client.pipelines.pipeline_service_list_pipeline_versions,
            pipeline_id,
            sort_by="created_at desc",
        )

    def version(self, pipeline_id: str, version_id: str) -> dict[str, Any]:
        """A version with its `pipeline_spec`."""
        get = self._client.pipelines.pipeline_service_get_pipeline_version
        return self._get(f"read version {version_id} of the pipeline", get, pipeline_id, version_id)

    def experiment_named(self, name: str) -> dict[str, Any] | None:
        found = self._get(
            f"look for the experiment {name}",
            self._client.experiments.experiment_service_list_experiments,
            filter=_equals("display_name", name),
            **self._of_namespace(),
        )
        return next((item for item in found.get("experiments") or () if item.get("display_name") == name), None)

    def create_experiment(self, name: str) -> dict[str, Any]:
        from kfp_server_api import V2beta1Experiment

        body = V2beta1Experiment(display_name=name, namespace=self.namespace or None)
        create = self._client.experiments.experiment_service_create_experiment
        return self._send(f"create the experiment {name}", create, body)

    def create_run(self, run: Any) -> dict[str, Any]:
        """run: a V2beta1Run."""
        return self._send("start the run", self._client.runs.run_service_create_run, run)

    def run(self, run_id: str, *, tries: int = _TRIES) -> dict[str, Any]:
        return self._get(f"read run {run_id}", self._client.runs.run_service_get_run, run_id, tries=tries)

    def runs(self, experiment_id: str = "") -> Iterator[dict[str, Any]]:
        """Runs, newest first, page by page."""
        chosen: dict[str, Any] = {"experiment_id": experiment_id} if experiment_id else self._of_namespace()
        list_runs = self._client.runs.run_service_list_runs
        return self._pages("runs", "list the runs", list_runs, sort_by="created_at desc", **chosen)

    def terminate(self, run_id: str) -> None:
        self._send(f"terminate run {run_id}", self._client.runs.run_service_terminate_run, run_id)

    def retry(self, run_id: str) -> None:
        self._send(f"retry run {run_id}", self._client.runs.run_service_retry_run, run_id)

    def create_schedule(self, schedule: Any) -> dict[str, Any]:
        """schedule: a V2beta1RecurringRun."""
        create = self._client.recurring_runs.recurring_run_service_create_recurring_run
        return self._send("create the schedule", create, schedule)

    def schedules(self) -> Iterator[dict[str, Any]]:
        list_them = self._client.recurring_runs.recurring_run_service_list_recurring_runs
        chosen = self._of_namespace()
        return self._pages("recurringRuns", "list the schedules", list_them, sort_by="created_at desc", **chosen)

    def change_schedule(self, schedule_id: str, change: str) -> None:
        """change: `enable`, `disable` or `delete`."""
        change_it = getattr(self._client.recurring_runs, f"recurring_run_service_{change}_recurring_run")
        self._send(f"{change} schedule {schedule_id}", change_it, schedule_id)

    def log(self, run_id: str, pod: str, *, follow: bool = False) -> Iterator[str]:
        """The lines of a task's container, as the server reads them."""
        api = self._client.runs.run_service_get_run.__self__.api_client
        what = f"read the log of {pod}"
        answer = self._answer(
            what,
            lambda **options: api.call_api(
                "/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log",
                "GET",
                {"run_id": run_id, "pod": pod},
                [("follow", "true" if follow else "false")],
                {"Accept": "text/plain"},
                auth_settings=["Bearer"],
                _return_http_data_only=True,
                **options,
            ),
            None if follow else _READ_S,
        )
        rest = b""
        with _talking(what, self.host):
            for chunk in answer.stream(8192):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (line.decode("utf-8", "replace") for line in lines)
        if rest:
            yield rest.decode("utf-8", "replace")

    # --- below ---------------------------------------------------------------------------------------

    def _of_namespace(self) -> dict[str, Any]:
        return {"namespace": self.namespace} if self.namespace else {}

    def _pages(self, field: str, what: str, function: Any, *args: Any, **options: Any) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            page = self._get(what, function, *args, page_size=_PAGE, page_token=token, **options)
            yield from page.get(field) or ()
            token = page.get("next_page_token") or ""
            if not token:
                return

    def _get(self, what: str, function: Any, *args: Any, tries: int = _TRIES, **options: Any) -> dict[str, Any]:
        """A question that may be asked again."""
        for number in range(1, tries + 1):
            try:
                return self._send(what, function, *args, **options)
            except DeployError as error:
                if not error.transient or number == tries:
                    raise
                time.sleep(self._pause_s * 2**number)
        raise AssertionError("unreachable: the last try returns or raises")

    def _send(self, what: str, function: Any, *args: Any, timeout_s: float = _READ_S, **options: Any) -> dict[str, Any]:
        """A request and its JSON. Raises DeployError."""
        answer = self._answer(what, lambda **more: function(*args, **options, **more), timeout_s)
        with _talking(what, self.host):
            text = answer.data.decode("utf-8", "replace")
        try:
            data = json.loads(text) if text.strip() else {}
        except ValueError:
            data = None
        if not isinstance(data, dict):
            if answers.is_web_page(text, answer.headers.get("Content-Type", "")):
                raise answers.web_page(what, self.host, answer.status)
            raise DeployError(f"cannot {what}: what {self.host} answers is no JSON: {answers.message_in(text)!r}")
        return data

    def _answer(self, what: str, ask: Callable[..., Any], read_s: float | None) -> Any:
        """The raw answer of a request that succeeded."""
        with _talking(what, self.host):
            return ask(_preload_content=False, _request_timeout=(_CONNECT_S, read_s))


class _talking:
    """Turns what the client raises into DeployError. No cause is kept: it holds the request's headers."""

    def __init__(self, what: str, host: str) -> None:
        self._what, self._host = what, host

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, DeployError):
            return
        told = self._told(error)
        if told is not None:
            raise told from None

    def _told(self, error: Exception) -> DeployError | None:
        from kfp_server_api.exceptions import ApiException

        undecoded = error.__context__  # the client fails to decode the body of a raw answer
        if isinstance(error, AttributeError) and isinstance(undecoded, ApiException):
            error = undecoded
        if isinstance(error, ApiException) and error.status:
            headers: Mapping[str, str] = error.headers or {}
            return answers.refused(
                self._what, self._host, error.status, error.body or b"", headers.get("Content-Type", "")
            )
        return answers.broken(self._what, self._host, error)


def _equals(field: str, value: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": field, "stringValue": value}]})
