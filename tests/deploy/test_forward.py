"""Without an endpoint: a port is forwarded to the service of the kubeconfig's cluster, and closed again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Project, says
from deploy.cluster import ClusterServer
from deploy.kfp_server import KfpServer

from grandpa_kfp.deployment.connecting import Address, connect
from grandpa_kfp.deployment.reaching import reach_store

FLOW = "@Node\ndef same(x: int) -> int:\n    return x\n@Workflow\ndef flow(x: int = 1):\n    return same(x)\n"


@pytest.fixture
def cluster(kfp: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClusterServer]:
    """A cluster whose ml-pipeline service is the KFP server."""
    made = ClusterServer()
    made.services["ml-pipeline"] = (8888, kfp.http.server_address[1])
    monkeypatch.setenv("KUBECONFIG", str(made.kubeconfig(tmp_path / "kubeconfig")))
    yield made
    made.close()


def test_a_deploy_goes_through_the_forwarded_port(project: Project, kfp: KfpServer, cluster: ClusterServer) -> None:
    project.flow(FLOW)
    done = project.grandpa("deploy", "flow.py")
    assert done.code == 0, done.err
    assert (len(kfp.runs), cluster.forwarded > 0) == (1, True)
    assert "5ecret" not in done.out + done.err
    assert done.out.strip() in kfp.runs  # no web page is known, so the run's id is all there is


def test_the_port_is_given_back_and_its_threads_end(kfp: KfpServer, cluster: ClusterServer) -> None:
    with connect(Address()) as server:
        port = int(server.host.rpartition(":")[2])
        assert server.health().version == "2.17.0"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)
    for thread in threading.enumerate():
        if thread.name.startswith("grandpa-forward-"):
            thread.join(60)
            assert not thread.is_alive(), thread.name


def test_many_requests_at_once_pass(kfp: KfpServer, cluster: ClusterServer) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with connect(Address()) as server, ThreadPoolExecutor(8) as pool:
        assert {item.version for item in pool.map(lambda _: server.health(), range(16))} == {"2.17.0"}


def test_a_context_that_is_not_in_the_kubeconfig_is_told(project: Project, cluster: ClusterServer) -> None:
    project.flow(FLOW)
    says(project.grandpa("deploy", "flow.py", "--context", "prod"), 1, "has no context prod; it has test")


def test_a_service_that_is_missing_or_not_ready_is_told(project: Project, cluster: ClusterServer) -> None:
    project.flow(FLOW)
    cluster.ready = False
    says(project.grandpa("deploy", "flow.py"), 1, "has no pod that is ready", "kubectl get pods -n kubeflow")
    cluster.services.clear()
    says(project.grandpa("deploy", "flow.py"), 1, 'services "ml-pipeline" not found')


def test_a_cluster_that_refuses_or_is_down_is_told(project: Project, cluster: ClusterServer) -> None:
    project.flow(FLOW)
    cluster.token = "another"
    message = says(project.grandpa("deploy", "flow.py"), 1, "(401)")
    assert "5ecret" not in message
    cluster.http.shutdown()
    cluster.http.server_close()
    says(project.grandpa("deploy", "flow.py"), 1, "nothing answers at the cluster http://127.0.0.1")


def test_a_broken_kubeconfig_is_told(
    project: Project, kfp: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.flow(FLOW)
    (tmp_path / "kubeconfig").write_text("contexts: 5\n")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    says(project.grandpa("deploy", "flow.py"), 1, "cannot be used")


@pytest.mark.server
def test_the_store_of_the_cluster_is_reached_with_the_secret_of_the_cluster(
    cluster: ClusterServer, minio_server, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    """Its name means nothing here: a port is forwarded; the keys are those that tasks use."""
    for name in ("GRANDPA_STORE_ACCESS_KEY", "GRANDPA_STORE_SECRET_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    cluster.services["minio-service"] = (9000, int(minio_server.endpoint.rpartition(":")[2]))
    cluster.secrets["mlpipeline-minio-artifact"] = {
        "accesskey": minio_server.access_key,
        "secretkey": minio_server.secret_key,
    }
    uri = f"s3://{minio_server.new_bucket()}/grandpa?endpoint=http://minio-service.kubeflow:9000"
    reached = reach_store(uri, secret="mlpipeline-minio-artifact")
    assert reached.store is not None, reached.why
    key = reached.store.write(b"x" * 300_000)
    assert bytes(reached.store.read(key)) == b"x" * 300_000
    reached.close()
