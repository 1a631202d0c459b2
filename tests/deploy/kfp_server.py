"""A Kubeflow Pipelines API server for tests: real HTTP, KFP's own models, and runs that really run.

Each request is held to the published model of its path, each answer too; `wrong` collects what does not
fit, and the fixture fails the test for it. Runs execute the uploaded YAML as processes, or follow a script.
"""

from __future__ import annotations

import datetime
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import yaml
from deploy.kfp_models import faults
from kfp.pipeline_spec import pipeline_spec_pb2

from grandpa_kfp_runtime.contract import FUSED

ENDED = ("SUCCEEDED", "FAILED", "CANCELED")


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z")


@dataclass
class Fault:
    """An answer instead of the right one, for requests whose `METHOD /path` matches. times: how often; -1 for ever."""

    match: str
    status: int = 500
    body: str = '{"error": "internal"}'
    content_type: str = "application/json"
    times: int = -1
    delay_s: float = 0.0
    hang_up: bool = False
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class KfpServer:
    """The state and the rules; the handler below carries HTTP to it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.requests: list[Request] = []
        self.wrong: list[str] = []
        self.faults: list[Fault] = []
        self.health: dict[str, Any] = {"commit_sha": "0" * 40, "tag_name": "2.17.0", "multi_user": False}
        self.token = ""
        self.pipelines: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, dict[str, Any]] = {}
        self.yamls: dict[str, str] = {}
        self.experiments: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.schedules: dict[str, dict[str, Any]] = {}
        self.logs: dict[tuple[str, str], str] = {}
        self.start: Callable[[KfpServer, dict[str, Any], str], None] = lambda server, run, text: None
        self._count = 0
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.http.daemon_threads = True
        self._thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}"

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self._thread.join()

    def asked(self, start: str) -> list[Request]:
        """The requests whose `METHOD /path` begins so."""
        with self.lock:
            return [item for item in self.requests if str(item).startswith(start)]

    @property
    def writes(self) -> list[str]:
        return [str(item) for item in self.requests if item.method != "GET"]

    def new_id(self) -> str:
        self._count += 1
        return f"{self._count:08x}-0000-4000-8000-000000000000"

    # --- the API -----------------------------------------------------------------------------------

    def answer(self, request: Request) -> tuple[int, str, Any]:
        """Status, the answer's model and the answer."""
        for method, pattern, model, handle in ROUTES:
            found = re.fullmatch(pattern, request.path)
            if found and method == request.method:
                with self.lock:
                    status, data = handle(self, request, *found.groups())
                return status, model if status == 200 else "", data
        return 404, "", {"error": f"no such path: {request}", "code": 5}

    def list_of(self, items: dict[str, dict[str, Any]], field_name: str, request: Request) -> tuple[int, Any]:
        """One page, filtered and sorted as asked."""
        rows = list(items.values())
        if request.query.get("filter"):
            asked = json.loads(request.query["filter"])
            self.wrong += faults(_camel_predicates(asked), "V2beta1Filter", "filter")
            for rule in asked["predicates"]:
                rows = [row for row in rows if row.get(rule["key"]) == rule["stringValue"]]
        if namespace := request.query.get("namespace"):
            rows = [row for row in rows if row.get("namespace", namespace) == namespace]
        if experiment := request.query.get("experiment_id"):
            rows = [row for row in rows if row.get("experiment_id") == experiment]
        if request.query.get("sort_by", "").endswith(" desc"):
            rows.reverse()
        size, offset = int(request.query.get("page_size") or 20), int(request.query.get("page_token") or 0)
        page: dict[str, Any] = {field_name: rows[offset : offset + size], "total_size": len(rows)}
        if offset + size < len(rows):
            page["next_page_token"] = str(offset + size)
        return 200, page

    def conflict(self, what: str) -> tuple[int, Any]:
        return 409, {"error_message": "Failed", "error_details": f"Failed: {what} exists already"}

    def missing(self, what: str) -> tuple[int, Any]:
        return 404, {"error": f"{what} not found", "code": 5, "message": f"{what} not found", "details": []}

    def add_version(self, pipeline: dict[str, Any], name: str, description: str, text: str) -> dict[str, Any]:
        version = {
            "pipeline_id": pipeline["pipeline_id"],
            "pipeline_version_id": self.new_id(),
            "name": name,
            "display_name": name,
            "description": description,
            "created_at": now(),
        }
        self.versions[version["pipeline_version_id"]] = version
        self.yamls[version["pipeline_version_id"]] = text
        return version


def _camel_predicates(asked: dict[str, Any]) -> dict[str, Any]:
    """The filter is protobuf JSON, whose names may be either way; the models know one."""
    names = {"stringValue": "string_value"}
    return {"predicates": [{names.get(key, key): value for key, value in rule.items()} for rule in asked["predicates"]]}


def _upload(server: KfpServer, request: Request) -> tuple[int, Any]:
    text = request.body
    name, namespace = request.query.get("name", ""), request.query.get("namespace")
    if not _is_pipeline(text):
        return 400, {"error_message": "Failed", "error_details": "Failed: not a pipeline"}
    if any(item["name"] == name and item.get("namespace") == namespace for item in server.pipelines.values()):
        return server.conflict(f"pipeline {name}")
    pipeline = {"pipeline_id": server.new_id(), "name": name, "display_name": request.query.get("display_name") or name}
    pipeline |= {"description": request.query.get("description", ""), "created_at": now()}
    if namespace:
        pipeline["namespace"] = namespace
    server.pipelines[pipeline["pipeline_id"]] = pipeline
    server.add_version(pipeline, name, pipeline["description"], text)
    return 200, pipeline


def _upload_version(server: KfpServer, request: Request) -> tuple[int, Any]:
    pipeline = server.pipelines.get(request.query.get("pipelineid", ""))
    name = request.query.get("name", "")
    if pipeline is None:
        return server.missing("pipeline")
    if not _is_pipeline(request.body):
        return 400, {"error_message": "Failed", "error_details": "Failed: not a pipeline"}
    own = [item for item in server.versions.values() if item["pipeline_id"] == pipeline["pipeline_id"]]
    if any(item["name"] == name for item in own):
        return server.conflict(f"version {name}")
    return 200, server.add_version(pipeline, name, request.query.get("description", ""), request.body)


def _is_pipeline(text: str) -> bool:
    from google.protobuf import json_format

    try:
        spec, *platform = yaml.safe_load_all(text)
        json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        if platform:
            json_format.ParseDict(platform[0], pipeline_spec_pb2.PlatformSpec())
    except (yaml.YAMLError, json_format.ParseError, ValueError, TypeError):
        return False
    return True


def _create_experiment(server: KfpServer, request: Request) -> tuple[int, Any]:
    name = request.body.get("display_name")
    if any(item["display_name"] == name for item in server.experiments.values()):
        return server.conflict(f"experiment {name}")
    made = {**request.body, "experiment_id": server.new_id(), "created_at": now()}
    server.experiments[made["experiment_id"]] = made
    return 200, made


def _create_run(server: KfpServer, request: Request) -> tuple[int, Any]:
    version = (request.body.get("pipeline_version_reference") or {}).get("pipeline_version_id")
    if version not in server.versions:
        return server.missing("pipeline version")
    if request.body.get("experiment_id") not in server.experiments:
        return server.missing("experiment")
    run = {**request.body, "run_id": server.new_id(), "created_at": now(), "state": "PENDING"}
    run["run_details"] = {"task_details": []}
    server.start(server, run, server.yamls[version])
    server.runs[run["run_id"]] = run
    return 200, run


def _of_run(change: Callable[[KfpServer, dict[str, Any]], Any]) -> Callable[..., tuple[int, Any]]:
    def handle(server: KfpServer, request: Request, run_id: str) -> tuple[int, Any]:
        run = server.runs.get(unquote(run_id))
        return server.missing(f"run {run_id}") if run is None else (200, change(server, run))

    return handle


def _terminate(server: KfpServer, run: dict[str, Any]) -> dict[str, Any]:
    run["state"] = "CANCELED"
    run["finished_at"] = now()
    return {}


def _retry(server: KfpServer, run: dict[str, Any]) -> dict[str, Any]:
    run["state"] = "RUNNING"
    run.pop("finished_at", None)
    return {}


def _create_schedule(server: KfpServer, request: Request) -> tuple[int, Any]:
    made = {**request.body, "recurring_run_id": server.new_id(), "created_at": now(), "status": "ENABLED"}
    server.schedules[made["recurring_run_id"]] = made
    return 200, made


def _change_schedule(server: KfpServer, request: Request, schedule_id: str, change: str = "delete") -> tuple[int, Any]:
    if schedule_id not in server.schedules:
        return server.missing(f"schedule {schedule_id}")
    if change == "delete":
        del server.schedules[schedule_id]
    else:
        server.schedules[schedule_id]["status"] = change.upper() + "D"
    return 200, {}


def _list(items: str, field_name: str) -> Callable[..., tuple[int, Any]]:
    return lambda server, request: server.list_of(getattr(server, items), field_name, request)


def _list_versions(server: KfpServer, request: Request, pipeline_id: str) -> tuple[int, Any]:
    own = {key: item for key, item in server.versions.items() if item["pipeline_id"] == pipeline_id}
    return server.list_of(own, "pipeline_versions", request)


def _version(server: KfpServer, request: Request, pipeline_id: str, version_id: str) -> tuple[int, Any]:
    """With its spec: where there are two documents, each under its name."""
    version = server.versions.get(version_id)
    if version is None or version["pipeline_id"] != pipeline_id:
        return server.missing("pipeline version")
    spec, *platform = yaml.safe_load_all(server.yamls[version_id])
    shown = {"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec
    return 200, {**version, "pipeline_spec": shown}


def _log(server: KfpServer, request: Request, run_id: str, pod: str) -> tuple[int, Any]:
    text = server.logs.get((unquote(run_id), unquote(pod)))
    return server.missing(f"log of {pod}") if text is None else (200, text)


API = "/apis/v2beta1"
ROUTES: list[tuple[str, str, str, Callable[..., tuple[int, Any]]]] = [
    ("GET", f"{API}/healthz", "", lambda server, request: (200, server.health)),
    ("GET", f"{API}/pipelines", "V2beta1ListPipelinesResponse", _list("pipelines", "pipelines")),
    ("POST", f"{API}/pipelines/upload", "V2beta1Pipeline", _upload),
    ("POST", f"{API}/pipelines/upload_version", "V2beta1PipelineVersion", _upload_version),
    ("GET", f"{API}/pipelines/([^/]+)/versions", "V2beta1ListPipelineVersionsResponse", _list_versions),
    ("GET", f"{API}/pipelines/([^/]+)/versions/([^/]+)", "V2beta1PipelineVersion", _version),
    ("GET", f"{API}/experiments", "V2beta1ListExperimentsResponse", _list("experiments", "experiments")),
    ("POST", f"{API}/experiments", "V2beta1Experiment", _create_experiment),
    ("GET", f"{API}/runs", "V2beta1ListRunsResponse", _list("runs", "runs")),
    ("POST", f"{API}/runs", "V2beta1Run", _create_run),
    ("GET", f"{API}/runs/([^/:]+)", "V2beta1Run", _of_run(lambda server, run: run)),
    ("POST", f"{API}/runs/([^/:]+):terminate", "", _of_run(_terminate)),
    ("POST", f"{API}/runs/([^/:]+):retry", "", _of_run(_retry)),
    ("GET", f"{API}/recurringruns", "V2beta1ListRecurringRunsResponse", _list("schedules", "recurringRuns")),
    ("POST", f"{API}/recurringruns", "V2beta1RecurringRun", _create_schedule),
    ("POST", f"{API}/recurringruns/([^/:]+):(enable|disable)", "", _change_schedule),
    ("DELETE", f"{API}/recurringruns/([^/:]+)", "", _change_schedule),
    ("GET", "/apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log", "", _log),
]
BODIES = {
    f"POST {API}/experiments": "V2beta1Experiment",
    f"POST {API}/runs": "V2beta1Run",
    f"POST {API}/recurringruns": "V2beta1RecurringRun",
}
QUERIES = {"filter", "page_size", "page_token", "sort_by", "namespace", "experiment_id", "name", "display_name",
           "description", "pipelineid", "tags", "follow"}  # fmt: skip


def _handler(server: KfpServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            """Tests read `requests` instead."""

        def _serve(self) -> None:
            request = self._read()
            with server.lock:
                server.requests.append(request)
                fault = next(
                    (item for item in server.faults if item.times and re.search(item.match, str(request))), None
                )
                if fault is not None:
                    fault.times -= 1
            if fault is not None:
                time.sleep(fault.delay_s)
                if fault.hang_up:
                    self.close_connection = True
                    return
                if fault.status:
                    self._write(fault.status, fault.body.encode(), fault.content_type, fault.headers)
                    return
            if server.token and request.headers.get("authorization") != f"Bearer {server.token}":
                self._write(401, b'{"error": "unauthenticated", "message": "no valid token"}', "application/json")
                return
            server.wrong += [f"{request}: query {name} is unknown" for name in request.query if name not in QUERIES]
            if str(request) in BODIES:
                server.wrong += [f"{request}: {fault}" for fault in faults(request.body, BODIES[str(request)])]
            status, model, data = server.answer(request)
            if model:
                server.wrong += [f"answer to {request}: {fault}" for fault in faults(data, model)]
            text = data if isinstance(data, str) else json.dumps(data)
            self._write(status, text.encode(), "text/plain" if isinstance(data, str) else "application/json")

        do_GET = do_POST = do_DELETE = _serve

        def _read(self) -> Request:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            data = self.rfile.read(int(headers.get("content-length") or 0))
            body: Any = None
            if headers.get("content-type", "").startswith("multipart/form-data"):
                body = _uploaded(headers["content-type"], data)
            elif data:
                body = json.loads(data)
            return Request(self.command, parts.path, dict(parse_qsl(parts.query)), headers, body)

        def _write(self, status: int, body: bytes, content_type: str, headers: dict[str, str] | None = None) -> None:
            try:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                self.close_connection = True  # who asked did not wait

    return Handler


def _uploaded(content_type: str, data: bytes) -> str:
    message = message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + data)
    for part in message.get_payload():
        if part.get_param("name", header="content-disposition") == "uploadfile":
            return part.get_payload(decode=True).decode()
    return ""


# --- what a run's details hold -----------------------------------------------------------------------


def detail(run: dict[str, Any], name: str) -> dict[str, Any]:
    """The entry of one of the user's tasks, made with its driver and container, as KFP lists them."""
    details = run["run_details"]["task_details"]
    for item in details:
        if item["display_name"] == name:
            return item
    pod = f"{name}-pod"
    made = {"run_id": run["run_id"], "task_id": f"id-{name}", "display_name": name, "state": "PENDING",
            "create_time": now(), "pod_name": f"node-{name}", "child_tasks": [{"pod_name": pod}]}  # fmt: skip
    details += [
        {"run_id": run["run_id"], "task_id": f"id-{name}-driver", "display_name": f"{name}-driver",
         "state": "SUCCEEDED", "pod_name": f"{name}-driver-pod", "child_tasks": [{"pod_name": f"node-{name}"}]},
        made,
        {"run_id": run["run_id"], "task_id": f"id-{name}-executor", "display_name": "executor",
         "state": "PENDING", "pod_name": pod},
    ]  # fmt: skip
    return made


def set_task(run: dict[str, Any], name: str, state: str, error: str = "") -> None:
    item = detail(run, name)
    executor = next(part for part in run["run_details"]["task_details"] if part["task_id"] == f"id-{name}-executor")
    for part in (item, executor):
        part["state"] = state
        if state == "RUNNING":
            part["start_time"] = now()
        if state in ENDED:
            part["end_time"] = now()
        if error:
            part["error"] = {"code": 2, "message": error}


def running_as_processes(store: str, folder: Any) -> Callable[[KfpServer, dict[str, Any], str], None]:
    """Starts runs for real: each task of the YAML as a process, its states shown as KFP shows them."""
    from grandpa_kfp.engine import events
    from grandpa_kfp.engine.pipeline_yaml import run_pipeline_yaml
    from grandpa_kfp_runtime.errors import TaskError

    def start(server: KfpServer, run: dict[str, Any], text: str) -> None:
        began = threading.Event()
        inner: set[str] = set()  # tasks of fused steps, which Kubeflow knows nothing of
        spec = next(yaml.safe_load_all(text))
        containers = {name: item["container"]["args"] for name, item in spec["deploymentSpec"]["executors"].items()}
        steps = {
            name for name, task in spec["root"]["dag"]["tasks"].items()
            if any(arg.startswith(FUSED) for arg in containers.get(f"exec-{task['componentRef']['name'][5:]}", ()))
        }  # fmt: skip
        params = (run.get("runtime_config") or {}).get("parameters") or {}

        def told(event: events.Event) -> None:
            if isinstance(event, events.RunStarted):  # whoever asked for the run holds the lock until it has begun
                run["run_id"] = event.run  # the engine's id is in the records that the tasks leave
                root = {"run_id": event.run, "task_id": "id-root", "display_name": "root", "state": "RUNNING"}
                run["run_details"]["task_details"] = [root]
                run["state"] = "RUNNING"
                began.set()
                return
            if isinstance(event, events.TaskGrew) and event.task in steps:
                inner.update(event.children)
            with server.lock:
                if getattr(event, "task", "") in inner:
                    return
                if isinstance(event, events.TaskStarted):
                    set_task(run, event.task.rpartition("/")[2], "RUNNING")
                elif isinstance(event, events.TaskFinished):
                    set_task(run, event.task.rpartition("/")[2], "SUCCEEDED")
                elif isinstance(event, events.TaskFailed):
                    set_task(run, event.task.rpartition("/")[2], "FAILED", "main: Error (exit code 3)")

        def work() -> None:
            state = "SUCCEEDED"
            try:
                run_pipeline_yaml(
                    text, params, store=store, listeners=(told,), root=folder, echo=lambda task, line: None
                )
            except TaskError:
                state = "FAILED"
            with server.lock:
                run["state"], run["finished_at"] = state, now()

        threading.Thread(target=work, daemon=True).start()
        assert began.wait(60)

    return start
