"""How a server is reached: over TLS with an authority of its own, from inside of its cluster."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from command_line import Project, says
from deploy.kfp_server import KfpServer

from grandpa_kfp.deployment import connecting


@pytest.fixture
def calc(project: Project) -> Project:
    project.flow("""
        @Node
        def double(n: int) -> int:
            return 2 * n

        @Workflow
        def flow(n: int = 3):
            return double(n)
    """)
    return project


@pytest.fixture
def tls(kfp: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The server behind TLS, with a certificate that it has signed itself: its URL and the certificate's file."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    for name in ("SSL_CERT_FILE", "GRANDPA_KFP_CA", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    kfp.http.socket = context.wrap_socket(kfp.http.socket, server_side=True, do_handshake_on_connect=False)
    return f"https://127.0.0.1:{kfp.http.server_address[1]}", str(certificate)


def test_a_certificate_that_nobody_knows_is_told(calc: Project, kfp: KfpServer, tls: tuple[str, str]) -> None:
    """With what to do; nothing was sent."""
    message = says(calc.grandpa("deploy", "flow.py", "--host", tls[0]), 1, "is not trusted here", "GRANDPA_KFP_CA")
    assert "--ca-cert FILE" in message
    assert not kfp.requests


def test_an_authority_of_its_own_is_named(
    calc: Project, kfp: KfpServer, tls: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an option, or by a variable."""
    url, certificate = tls
    assert calc.grandpa("deploy", "flow.py", "--host", url, "--ca-cert", certificate).code == 0
    monkeypatch.setenv("GRANDPA_KFP_CA", certificate)
    shown = calc.grandpa("ps", "--remote", "--host", url)
    assert (shown.code, "flow" in shown.out) == (0, True), shown.err
    monkeypatch.setenv("GRANDPA_KFP_CA", f"{certificate}.old")
    says(calc.grandpa("ps", "--remote", "--host", url), 1, "certificate.pem.old (GRANDPA_KFP_CA) is not there")


def test_the_wrong_authority_is_told(calc: Project, tls: tuple[str, str], tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=other",
         "-keyout", tmp_path / "other.key", "-out", other],
        check=True, capture_output=True,
    )  # fmt: skip
    says(calc.grandpa("deploy", "flow.py", "--host", tls[0], "--ca-cert", str(other)), 1, "is not trusted here")
    assert calc.grandpa("ps", "--remote", "--host", tls[0], "--insecure").code == 0


@pytest.fixture
def pod(kfp: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of a service account, and the name of the cluster's service, as a pod has them."""
    account, token = tmp_path / "serviceaccount", tmp_path / "pipelines" / "token"
    account.mkdir()
    token.parent.mkdir()
    (account / "token").write_text("of-kubernetes")
    (account / "namespace").write_text("team-a\n")
    token.write_text("p0d-token")
    monkeypatch.setattr(connecting, "_SERVICE_ACCOUNT", account)
    monkeypatch.setattr(connecting, "_POD_TOKEN", token)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.delenv("KF_PIPELINES_SA_TOKEN_PATH", raising=False)
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if (host, port) == ("ml-pipeline.kubeflow.svc.cluster.local", 8888):
            return real("127.0.0.1", kfp.http.server_address[1], *args, **options)
        return real(host, port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return token


def test_a_pod_finds_its_clusters_server(calc: Project, kfp: KfpServer, pod: Path) -> None:
    """By the service's name, with the token and the namespace of its service account."""
    kfp.token, kfp.health["multi_user"] = "p0d-token", True
    done = calc.grandpa("deploy", "flow.py")
    assert done.code == 0, done.err
    assert [item["namespace"] for item in kfp.pipelines.values()] == ["team-a"]
    assert "p0d-token" not in done.out + done.err
    kfp.token = "renewed"
    pod.write_text("renewed")
    assert calc.grandpa("ps", "--remote").code == 0


def test_a_pod_without_a_token_for_kubeflow_is_told(
    calc: Project, kfp: KfpServer, pod: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp.token = "p0d-token"
    pod.unlink()
    says(calc.grandpa("deploy", "flow.py"), 1, "does not know who you are (401)")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(pod))
    says(calc.grandpa("deploy", "flow.py"), 1, "(KF_PIPELINES_SA_TOKEN_PATH) is not there")
    assert not kfp.runs
