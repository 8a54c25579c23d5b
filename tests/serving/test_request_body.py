"""Limits on request bodies: a clear refusal, and no client can fill /tmp."""

from __future__ import annotations

import asyncio
import errno
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from pytest_django import Settings

from serving.request_body import RequestBodyLimit
from serving.unavailability import TITLE

MiB = 2**20


class Upload:
    """One request whose body is sent in chunks of 1 MiB."""

    def __init__(self, app: RequestBodyLimit, length: int | None = None) -> None:
        headers = [] if length is None else [(b"content-length", str(length).encode())]
        self.client = ApplicationCommunicator(app, {"type": "http", "headers": headers})

    async def send(self, chunks: int, *, more: bool = True) -> None:
        """Send chunks, the last of which ends the body unless there are more."""
        for number in range(chunks):
            last = not more and number == chunks - 1
            await self.client.send_input(
                {"type": "http.request", "body": b"0" * MiB, "more_body": not last}
            )

    async def response(self) -> tuple[int, dict[bytes, bytes], str]:
        """Return status, headers and body."""
        start = await self.client.receive_output()
        body, more = b"", True
        while more:
            part = await self.client.receive_output()
            body, more = body + part["body"], part["more_body"]
        await self.client.wait()
        return start["status"], dict(start["headers"]), body.decode()


async def read_all(_scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
    """An application that reads the body, as Django does, and answers 200."""
    while (await receive())["more_body"]:
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def never_called(_scope: Any, _receive: Any, _send: Any) -> None:
    raise AssertionError


def test_declared_length_above_the_limit_is_refused_before_reading() -> None:
    async def upload() -> None:
        refused = Upload(RequestBodyLimit(never_called, 1), 10 * MiB + 1)
        await refused.send(1, more=False)
        status, headers, page = await refused.response()
        assert status == 413
        assert headers[b"connection"] == b"close"
        assert headers[b"content-type"] == b"text/html; charset=utf-8"
        assert headers[b"cache-control"] == b"no-store"
        assert headers[b"content-length"] == str(len(page.encode())).encode()
        assert "Please send a smaller file" in page

    asyncio.run(upload())


def test_declared_length_at_the_limit_is_accepted() -> None:
    async def upload() -> None:
        sent = Upload(RequestBodyLimit(read_all, 1), 10 * MiB)
        await sent.send(10, more=False)
        assert (await sent.response())[0] == 200

    asyncio.run(upload())


@pytest.mark.parametrize(("chunks", "status"), [(10, 200), (11, 413)])
def test_undeclared_length_is_counted_while_reading(chunks: int, status: int) -> None:
    async def upload() -> None:
        sent = Upload(RequestBodyLimit(read_all, 1))
        await sent.send(chunks, more=False)
        assert (await sent.response())[0] == status

    asyncio.run(upload())


def test_refused_client_that_keeps_sending_is_cut_off_within_four_seconds() -> None:
    async def upload() -> None:
        sent = Upload(RequestBodyLimit(never_called, 1), 10 * MiB + 1)
        start = asyncio.get_running_loop().time()
        assert (await sent.client.receive_output(1))["status"] == 413
        assert (await sent.client.receive_output(1))["more_body"]
        await sent.send(3)
        assert not (await sent.client.receive_output(5))["more_body"]
        assert 1.5 < asyncio.get_running_loop().time() - start < 4

    asyncio.run(upload())


def test_simultaneous_uploads_cannot_fill_tmp_and_small_forms_still_work(
    settings: Settings,
) -> None:
    async def upload() -> None:
        app = RequestBodyLimit(read_all, 1)
        app.spool_limit = 10 * MiB
        first, second, third, fourth = Upload(app), Upload(app), Upload(app), Upload(app)
        await first.send(9)
        await second.send(3, more=False)
        status, headers, page = await second.response()
        assert (status, headers[b"retry-after"]) == (503, b"5")
        assert headers[b"cache-control"] == b"no-store"
        assert TITLE in page
        # Django keeps this smaller body in memory.
        await third.send(2, more=False)
        assert (await third.response())[0] == 200
        await first.send(1, more=False)
        assert (await first.response())[0] == 200
        await fourth.send(9, more=False)
        assert (await fourth.response())[0] == 200
        assert app.spooled == 0

    asyncio.run(upload())


def test_processes_share_half_of_tmp() -> None:
    alone = RequestBodyLimit(never_called, 1).spool_limit
    assert alone == shutil.disk_usage(tempfile.gettempdir()).total // 2
    assert RequestBodyLimit(never_called, 4).spool_limit == alone // 4


def test_full_tmp_is_answered_with_503_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def full(_scope: Any, _receive: Any, _send: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def upload() -> None:
        sent = Upload(RequestBodyLimit(full, 1))
        await sent.send(1, more=False)
        status, headers, page = await sent.response()
        assert (status, headers[b"retry-after"]) == (503, b"5")
        assert TITLE in page

    asyncio.run(upload())
    assert "Refused a request body: [Errno 28] No space left on device" in caplog.messages


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_other_error_and_error_after_the_start_of_a_response_are_not_hidden(number: int) -> None:
    async def broken(_scope: Any, _receive: Any, send: Any) -> None:
        if number == errno.ENOSPC:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise OSError(number, "broken")

    async def upload() -> None:
        sent = Upload(RequestBodyLimit(broken, 1))
        with pytest.raises(OSError, match="broken"):
            await sent.client.wait()

    asyncio.run(upload())
