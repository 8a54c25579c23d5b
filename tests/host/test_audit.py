"""scripts/audit.py with a service that knows one vulnerability, and with none that answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scripts.stack.project_copy import ROOT

VULNERABLE = "django"
ADVISORY = {
    "id": "TEST-2026-1",
    "aliases": ["CVE-2026-0001"],
    "published": "2026-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": VULNERABLE},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}],
        }
    ],
}


class Advisories(BaseHTTPRequestHandler):
    """Answers OSV's query API, with an advisory for one package."""

    asked: set[str]

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = query["package"]["name"]
        self.asked.add(name)
        body = json.dumps({"vulns": [ADVISORY]} if name == VULNERABLE else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def asked() -> Iterator[tuple[str, set[str]]]:
    """The address of a running service, and the names of the packages it was asked about."""
    names: set[str] = set()
    handler = type("Handler", (Advisories,), {"asked": names})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query", names
        server.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two locks and a bill of materials."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/app.txt").write_text("django==6.1.3 \\\n    --hash=sha256:0\n")
    (tmp_path / "requirements/host.txt").write_text("redis==7.0 ; sys_platform != 'none'\n")
    components = [{"name": "Django", "version": "6.1.2"}, {"name": "libexample", "version": "1"}]
    (tmp_path / "sbom.json").write_text(json.dumps({"components": components}))
    return tmp_path


def audit(folder: Path, service: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    variables = {
        "PIP_AUDIT_VULNERABILITY_SERVICE": "osv",
        "PIP_AUDIT_OSV_URL": service,
        "UV_CACHE_DIR": str(ROOT / ".local/cache/uv"),
    }
    uv_run = (ROOT / ".local/venv/bin/uv", "run", "--quiet", "--no-project", "--isolated")
    tools = ("--python", sys.executable, "--with-requirements", ROOT / "requirements/sbom.txt")
    return subprocess.run(
        [*uv_run, *tools, "python", ROOT / "scripts/audit.py", "sbom.json", *arguments],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_vulnerable_package_is_named_until_it_is_accepted(
    folder: Path, asked: tuple[str, set[str]]
) -> None:
    service, names = asked
    done = audit(folder, service)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines() == [
        "django 6.1.2: CVE-2026-0001, TEST-2026-1; fixed in 99.1",
        "django 6.1.3: CVE-2026-0001, TEST-2026-1; fixed in 99.1",
    ]
    assert names == {"django", "redis", "libexample"}

    accepted = audit(folder, service, "--ignore-vuln", "TEST-2026-1")
    assert accepted.returncode == 0, accepted.stderr
    assert accepted.stdout == "No known vulnerabilities in 4 packages.\n"


def test_unreachable_service_gives_one_sentence_and_a_remedy(folder: Path) -> None:
    done = audit(folder, "http://127.0.0.1:9/v1/query")
    assert done.returncode == 1
    assert "cannot be reached. Check the network" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
