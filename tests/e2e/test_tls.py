"""TLS and trusted proxies as a person sets them up: certificates of openssl, curl, requests, the real binary."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from service import Service, binary

PATIENCE_SECONDS = 60


class Authority:
    """Issues certificates by the openssl command."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.key = folder / f"{name}.ca.key"
        self.cert = folder / f"{name}.ca.crt"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650",
                "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.cert)  # fmt: skip

    def issue(self, name: str, *, usage: str = "serverAuth", rsa: bool = False) -> tuple[Path, Path]:
        """A certificate for this machine and its key, which only we may open."""
        cert, key, request = (self.folder / f"{name}.{kind}" for kind in ("crt", "key", "csr"))
        kind = ["rsa:2048"] if rsa else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        openssl("req", "-new", "-newkey", *kind, "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage={usage}\n")
        openssl("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial",
                "-days", "30", "-extfile", extensions, "-out", cert)  # fmt: skip
        key.chmod(0o600)
        return cert, key


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Encrypted(Service):
    """A service that speaks https; its readiness is asked for by its own `healthcheck`."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        super().__init__(folder, settings)
        self.url = f"https://127.0.0.1:{self.port}"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [binary()], env=self.environment(), cwd=self.directory, stdout=log, stderr=log
            )
        try:
            until(lambda: self.process.poll() is not None or self.healthcheck().returncode == 0)
            assert self.process.poll() is None, self.log_text()
        except BaseException:
            self.stop()
            raise

    def healthcheck(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [binary(), "healthcheck", *arguments]
        return subprocess.run(command, env=self.environment(), cwd=self.directory, capture_output=True, text=True)


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        assert time.monotonic() < deadline, "nothing came of it"
        time.sleep(0.1)


def curl(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["curl", "-sS", *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "servers")


@pytest.fixture
def encrypted(tmp_path: Path, authority: Authority) -> Iterator[Encrypted]:
    cert, key = authority.issue("one", rsa=True)
    settings = {"STORAGE_TLS_CERT": str(cert), "STORAGE_TLS_KEY": str(key)}
    with Encrypted(tmp_path, settings) as running:
        yield running


def shown(service: Encrypted) -> bytes:
    """The certificate that it shows now, unverified."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", service.port)) as plain, context.wrap_socket(plain) as secure:
        certificate = secure.getpeercert(binary_form=True)
        assert certificate
        return certificate


def test_curl_and_requests_speak_https(encrypted: Encrypted, authority: Authority) -> None:
    url = f"{encrypted.url}/v1/proofs/a.json"
    for version, expected in (("--http2", "2"), ("--http1.1", "1.1")):
        put = curl("--cacert", authority.cert, version, "-X", "PUT", "--data-binary", "{}", url,
                   "-H", "Content-Type: application/json", "-w", "\n%{http_version} %{scheme}")  # fmt: skip
        assert put.returncode == 0, put.stderr
        result, protocol = put.stdout.rsplit("\n", 1)
        assert protocol.lower() == f"{expected} https"
        assert json.loads(result)["url"] == url
    answer = requests.get(url, verify=str(authority.cert), timeout=10)
    assert (answer.status_code, answer.content) == (200, b"{}")
    # Negative control: who does not know the authority takes nothing.
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(url, timeout=10)
    assert curl(url).returncode == 60


def test_versions(encrypted: Encrypted, authority: Authority) -> None:
    def with_version(version: str) -> int:
        # Without the security level curl itself would refuse the old ones.
        old = ["--ciphers", "DEFAULT@SECLEVEL=0"]
        return curl("--cacert", authority.cert, f"--tlsv{version}", "--tls-max", version, *old,
                    f"{encrypted.url}/health").returncode  # fmt: skip

    assert [with_version(version) for version in ("1.2", "1.3")] == [0, 0]
    assert with_version("1.0") != 0
    assert with_version("1.1") != 0


def test_plain_http_is_told(encrypted: Encrypted) -> None:
    answer = requests.get(f"http://127.0.0.1:{encrypted.port}/health", timeout=10)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "INVALID_REQUEST"
    assert "https://" in answer.json()["detail"]


def test_a_new_certificate_is_taken_and_a_broken_one_is_not(encrypted: Encrypted, tmp_path: Path) -> None:
    other = Authority(tmp_path, "others")
    cert, key = (Path(encrypted.settings[name]) for name in ("STORAGE_TLS_CERT", "STORAGE_TLS_KEY"))
    before = shown(encrypted)

    good = cert.read_bytes()
    cert.write_text("-----BEGIN CERTIFICATE-----\nhalf")
    until(lambda: "cannot use the new certificate" in encrypted.log_text())
    assert shown(encrypted) == before
    assert encrypted.healthcheck().returncode == 1, "the files do not fit what is to be shown"
    metrics = curl("--insecure", f"{encrypted.url}/metrics").stdout
    assert 'proof_storage_credentials_read_total{source="certificate",outcome="failed"} 1\n' in metrics
    cert.write_bytes(good)

    new_cert, new_key = other.issue("two")
    os.replace(new_key, key)
    os.replace(new_cert, cert)
    until(lambda: shown(encrypted) != before)
    assert requests.get(f"{encrypted.url}/health", verify=str(other.cert), timeout=10).status_code == 200
    assert encrypted.healthcheck().returncode == 0


def test_client_certificates(tmp_path: Path, authority: Authority) -> None:
    clients, strangers = Authority(tmp_path, "clients"), Authority(tmp_path, "strangers")
    cert, key = authority.issue("one")
    settings = {
        "STORAGE_TLS_CERT": str(cert),
        "STORAGE_TLS_KEY": str(key),
        "STORAGE_TLS_CLIENT_CA": str(clients.cert),
    }
    # That it becomes ready shows that `healthcheck` is let in.
    with Encrypted(tmp_path, settings) as service:
        url = f"{service.url}/health"
        right = clients.issue("friend", usage="clientAuth")
        answer = requests.get(url, verify=str(authority.cert), cert=(str(right[0]), str(right[1])), timeout=10)
        assert answer.status_code == 200
        assert curl("--cacert", authority.cert, url).returncode != 0
        wrong = strangers.issue("foe", usage="clientAuth")
        assert curl("--cacert", authority.cert, "--cert", wrong[0], "--key", wrong[1], url).returncode != 0


def test_healthcheck_takes_the_services_own_certificate_only(encrypted: Encrypted, authority: Authority) -> None:
    assert encrypted.healthcheck().stdout == "ready\n"
    assert encrypted.healthcheck("--url", f"{encrypted.url}/health/ready").returncode == 0
    cert, key = authority.issue("sibling")
    encrypted.settings |= {"STORAGE_TLS_CERT": str(cert), "STORAGE_TLS_KEY": str(key)}
    refused = encrypted.healthcheck()
    assert refused.returncode == 1
    assert "another certificate" in refused.stderr


def test_mistakes_come_before_the_start(tmp_path: Path, authority: Authority) -> None:
    (cert, _), (_, other) = authority.issue("one"), authority.issue("two")
    environment = {"PATH": os.environ["PATH"], "STORAGE_TLS_CERT": str(cert), "STORAGE_TLS_KEY": str(other)}
    refused = subprocess.run([binary()], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "STORAGE_TLS_KEY" in refused.stderr and "not the key of the first certificate" in refused.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("trusted", ["127.0.0.1", None])
def test_the_log_has_the_client_behind_a_trusted_proxy(tmp_path: Path, trusted: str | None) -> None:
    settings = {"STORAGE_LOG_FORMAT": "json", "STORAGE_PUBLIC_URL": "https://proofs.example"}
    if trusted:
        settings["STORAGE_TRUSTED_PROXIES"] = trusted
    with Service(tmp_path, settings) as service:
        headers = {
            "X-Forwarded-For": "198.51.100.1, 192.0.2.7",
            "X-Forwarded-Proto": "https",
            "Forwarded": "for=198.51.100.9;proto=http",
            "X-Request-Id": "the-one",
        }
        assert requests.get(f"{service.url}/health", headers=headers, timeout=10).status_code == 200
        until(lambda: "the-one" in service.log_text())
        lines = [json.loads(line) for line in service.log_text().splitlines() if "the-one" in line]
    fields = lines[0].get("fields", lines[0])
    expected = ("192.0.2.7", "https") if trusted else ("127.0.0.1", "http")
    assert (fields["client"], fields["scheme"]) == expected
