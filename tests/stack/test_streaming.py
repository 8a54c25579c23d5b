"""Both targets deliver a stream while it is being made."""

from __future__ import annotations

import json
import time
import urllib.request

import pytest

from scripts.stack.engine import PROJECT, ROOT, Stack, run


@pytest.mark.parametrize("target", ["dev", "ecs"])
def test_an_async_view_delivers_events_as_they_are_made(stack: Stack, target: str) -> None:
    web = stack.start(
        target=target,
        env={
            "DJANGO_SETTINGS_MODULE": "extra_settings",
            "PYTHONPATH": "/app/src:/apps",
        },
        options=("--volume", f"{ROOT}/tests/stack/apps:/apps:ro"),
    ).wait_ready()
    try:
        made, came = [], []
        with urllib.request.urlopen(f"{web.url}/stream/", timeout=10) as response:
            assert response.headers["Content-Type"] == "text/event-stream"
            for line in response:
                if line.startswith(b"data: "):
                    came.append(time.time())
                    made.append(float(line.removeprefix(b"data: ")))
        assert len(made) == 4
        # Each came before the next was made: nothing on the way collects.
        assert all(before < after for before, after in zip(came, made[1:], strict=False))
    finally:
        web.remove()


def test_an_mcp_server_reports_progress_as_it_happens(stack: Stack) -> None:
    image, build = f"{PROJECT}-mcp", f"{PROJECT}-build"
    recipe = ("--quiet", "--file", "docker/Dockerfile", "--target", "build", "--tag", build, ".")
    run("docker", "build", *recipe)
    # Over the ecs image as it is: the SDK is a folder beside its packages.
    added = f"""
        FROM {build} AS sdk
        RUN --mount=type=bind,target=/locks \
            uv pip install --target /sdk --require-hashes -r /locks/mcp.txt
        FROM {PROJECT}-ecs
        COPY --from=sdk /sdk /sdk
    """
    run("docker", "build", "--quiet", "--tag", image, "--file", "-", "requirements", input=added)
    run("docker", "tag", f"{PROJECT}-ecs", f"{PROJECT}-kept")
    run("docker", "tag", image, f"{PROJECT}-ecs")
    try:
        web = stack.start(
            *("gunicorn", "--config", "/app/docker/gunicorn.conf.py", "mcp_app:application"),
            # A session of the SDK lives in one process.
            env={"PYTHONPATH": "/app/src:/apps:/sdk", "WORKERS": "1"},
            options=("--volume", f"{ROOT}/tests/stack/apps:/apps:ro"),
        )
    finally:
        run("docker", "tag", f"{PROJECT}-kept", f"{PROJECT}-ecs")
        run("docker", "rmi", f"{PROJECT}-kept", build)
    try:
        web.wait_ready()
        times = json.loads(web.exec("python", "/apps/mcp_client.py"))
        assert len(times["made"]) == len(times["came"]) == 4
        pairs = zip(times["came"], times["made"][1:], strict=False)
        assert all(before < after for before, after in pairs)
    finally:
        web.remove()
        run("docker", "rmi", "--force", image)
