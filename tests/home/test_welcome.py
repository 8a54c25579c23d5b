"""The addresses that make up and make up-prodlike print (scripts/welcome)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from django.conf import settings

ROOT = settings.SRC.parent


@pytest.mark.parametrize(("target", "file"), [("dev", "dev.env"), ("ecs", "ecs-local.env")])
def test_address_for_mcp_clients_is_printed_if_the_server_is_on(
    tmp_path: Path, target: str, file: str
) -> None:
    (tmp_path / "env").mkdir()
    for name in ("dev.env", "ecs-local.env"):
        shutil.copy(ROOT / "env" / name, tmp_path / "env")
    environ = os.environ | {"WEB_PORT": "8123", "REPLICAS": "1"}

    def printed() -> str:
        return subprocess.run(
            ["sh", ROOT / "scripts/welcome", target],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            check=True,
            text=True,
        ).stdout

    assert "  MCP     http://localhost:8123/mcp\n" in printed()
    values = tmp_path / "env" / file
    values.write_text(values.read_text().replace("MCP_HUB=true", "MCP_HUB=false"))
    off = printed()
    assert "  Site    http://localhost:8123/\n" in off
    assert "/mcp" not in off
