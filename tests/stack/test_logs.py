"""The ecs target's log: one JSON object per line on stdout, and never a secret."""

from __future__ import annotations

import json

import pytest

from scripts.stack.engine import ROOT, Container, Stack, run, wait_for


def test_every_line_is_json_on_stdout(web: Container) -> None:
    response = web.browser().get("/no-such-page/?password=unseen")
    wait_for(lambda: "GET /no-such-page/ 404" in web.logs(), 30)
    records = web.records()
    assert run("docker", "logs", web.id).stderr == ""
    for record in records:
        assert {"timestamp", "level", "logger", "message"} <= record.keys()
    assert any(record["logger"].startswith("gunicorn") for record in records)
    (access,) = (
        row for row in records if row.get("path") == "/no-such-page/" and row["logger"] == "access"
    )
    assert access["request_id"] == response.headers["x-request-id"]
    assert (access["method"], access["status"]) == ("GET", 404)
    assert access["duration_ms"] > 0
    assert access["client"]
    assert "unseen" not in web.logs()


def test_probes_are_not_logged(web: Container) -> None:
    probes = ("/livez", "/readyz")
    for path in probes:
        assert web.browser().get(path).status == 200
    logged = [row for row in web.records() if row.get("method") in ("GET", "HEAD")]
    assert logged
    assert not [row for row in logged if row["path"] in probes]


def test_traceback_is_one_line(stack: Stack) -> None:
    container = stack.start(
        *("gunicorn", "--config", "/app/docker/gunicorn.conf.py", "slow:application"),
        env={"PYTHONPATH": "/app/src:/tests"},
        options=("--volume", f"{ROOT}/tests/stack/apps:/tests:ro"),
    )
    try:
        container.wait_ready()
        assert container.browser().get("/fail").status == 500
        wait_for(lambda: "failed on purpose" in container.logs(), 30)
        (record,) = (row for row in container.records() if "failed on purpose" in json.dumps(row))
        assert record["level"] == "error"
        assert "Traceback" in record["exception"]
    finally:
        container.remove()


def test_too_many_possible_connections_are_reported_once(stack: Stack) -> None:
    container = stack.start(env={"REPLICAS": "50"})
    try:
        container.wait_ready()
        wait_for(lambda: "max_connections" in container.logs(), 30)
        (record,) = (row for row in container.records() if "max_connections" in row["message"])
        assert record["level"] == "warning"
        # replicas x workers x (pool + 1)
        assert "= 900, but max_connections 100" in record["message"]
    finally:
        container.remove()


@pytest.mark.parametrize(
    ("name", "url", "status"),
    [
        ("DATABASE_URL", "postgres://methodhub:{}-wrong@postgres:5432/methodhub", 0),
        ("DATABASE_OWNER_URL", "postgres://methodhub_owner:{}-wrong@postgres:5432/methodhub", 0),
        ("DATABASE_URL", "postgres://x:{}/#@y/z", 78),
    ],
    ids=["refused", "owner refused", "malformed"],
)
def test_rejected_database_url_is_not_logged(
    stack: Stack, name: str, url: str, status: int
) -> None:
    secret = stack.canaries[name]
    container = stack.start(service="migrate", env={name: url.format(secret)})
    try:
        ended = int(run("docker", "wait", container.id).stdout)
        assert ended == status if status else ended != 0
        assert container.logs()
        assert secret not in container.logs()
    finally:
        container.remove()


@pytest.mark.last
def test_idle_connection_outlives_the_balancers_timeout(stack: Stack) -> None:
    """If the server closed idle connections first, the balancer could send requests on them."""
    stack.idle.join()
    assert stack.idle_statuses == [200, 200]


@pytest.mark.last
def test_no_secret_is_in_any_log(stack: Stack) -> None:
    """Check all containers of this run, including those with broken environments or services."""
    files = stack.keep_logs()
    assert len(files) > 3
    for file in files:
        text = file.read_text()
        for name, canary in stack.canaries.items():
            assert canary not in text, f"{name} in {file.name}"
