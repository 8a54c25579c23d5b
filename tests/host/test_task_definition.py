"""The script behind the second half of make parity, which needs no engine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CONFIG: dict[str, Any] = json.loads((ROOT / "tests/parity/config.json").read_text())


def translate(**change: Any) -> subprocess.CompletedProcess[str]:
    """Run the script on the configuration, with changed keys of web."""
    web = CONFIG["services"]["web"] | change
    return subprocess.run(
        [sys.executable, "-m", "scripts.parity_task_definition"],
        cwd=ROOT,
        input=json.dumps(CONFIG | {"services": CONFIG["services"] | {"web": web}}),
        capture_output=True,
        text=True,
        check=False,
    )


def test_valid_service_is_registered_without_its_secrets() -> None:
    done = translate()

    assert done.returncode == 0, done.stdout + done.stderr
    assert "web          registered: cpu 512, memory 1024, 2 secrets" in done.stdout
    request = (ROOT / ".local/task-definitions.json").read_text()
    assert "postgres" not in json.loads(request)
    for secret in ("a-password", "a-key"):
        assert secret not in done.stdout + request


def test_request_that_the_api_does_not_take_is_refused() -> None:
    """None of our own rules covers these; botocore's model of the API does."""
    done = translate(tmpfs=["/tmp"], user=10001)  # noqa: S108

    assert done.returncode == 1
    assert (
        'Missing required parameter in containerDefinitions[0].linuxParameters.tmpfs[0]: "size"'
        in (done.stdout)
    )
    assert "Invalid type for parameter containerDefinitions[0].user" in done.stdout
    assert "Traceback" not in done.stderr
