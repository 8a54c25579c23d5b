"""This project's ASGI handler, compared with Django's own where both must agree."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from asgiref.sync import sync_to_async
from asgiref.typing import ASGI3Application
from django.conf.urls.i18n import i18n_patterns
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.core.files.uploadedfile import UploadedFile
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import got_request_exception, request_finished, request_started
from django.db import DataError, connection, transaction
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    StreamingHttpResponse,
)
from django.http.response import HttpResponseBase
from django.template import engines
from django.template.response import TemplateResponse
from django.urls import path, register_converter
from django.utils.decorators import async_only_middleware, sync_only_middleware
from django.utils.deprecation import MiddlewareMixin
from pytest_django import Settings
from structlog.contextvars import bound_contextvars, get_contextvars

from accounts.models import User
from serving.access_log import AccessLog
from serving.asgi_handler import FILE_BLOCK, QUEUED_PER_THREAD, ThreadPoolASGIHandler

THREADS = 3
# As many requests as the handler accepts at once.
CROWD = THREADS * (1 + QUEUED_PER_THREAD)

# -- a site ---------------------------------------------------------------------------------------


def trail(request: HttpRequest) -> list[str]:
    """Return the names of the middleware hooks that have run for the request."""
    return request.__dict__.setdefault("trail", [])  # type: ignore[no-any-return]


@sync_only_middleware
def synchronous(get_response: Callable[[HttpRequest], HttpResponse]) -> Any:
    def middleware(request: HttpRequest) -> HttpResponse:
        trail(request).append("synchronous")
        response = get_response(request)
        response["X-Trail"] = " ".join(trail(request)) + " synchronous"
        return response

    return middleware


@async_only_middleware
def asynchronous(get_response: Callable[[HttpRequest], Awaitable[HttpResponse]]) -> Any:
    async def middleware(request: HttpRequest) -> HttpResponse:
        trail(request).append("asynchronous")
        return await get_response(request)

    return middleware


class Hooks(MiddlewareMixin):
    """Middleware with every hook; answers a LookupError of a view with 418."""

    def process_request(self, request: HttpRequest) -> None:
        trail(request).append("both")

    def process_view(self, request: HttpRequest, *_view: object) -> None:
        trail(request).append("view")

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        trail(request).append(type(error).__name__)
        return HttpResponse("mended", status=418) if isinstance(error, LookupError) else None

    def process_template_response(
        self, request: HttpRequest, response: TemplateResponse
    ) -> TemplateResponse:
        trail(request).append("template")
        return response


@sync_only_middleware
def switch_urlconf(get_response: Callable[[HttpRequest], HttpResponse]) -> Any:
    """Give /moved/ another URLconf."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.path == "/moved/":
            request.urlconf = OtherURLconf  # type: ignore[assignment]
        return get_response(request)

    return middleware


def raising(request: HttpRequest) -> HttpResponse:
    """Raise the exception that the query names."""
    errors = (Http404, PermissionDenied, SuspiciousOperation, KeyError, ValueError)
    raise {error.__name__: error for error in errors}[request.GET["error"]]


def template(request: HttpRequest) -> TemplateResponse:
    return TemplateResponse(request, engines["django"].from_string("rendered"))


def upload(request: HttpRequest) -> HttpResponse:
    """Return a field, and the digest of a file."""
    file = request.FILES["file"]
    assert isinstance(file, UploadedFile)
    digest = hashlib.sha256(b"".join(file.chunks())).hexdigest()
    return HttpResponse(f"{request.POST['word']} {type(file).__name__} {digest}")


def query(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(User.objects.count()))


def failed_transaction(_request: HttpRequest) -> HttpResponse:
    """Stay in a failed transaction until the gate opens."""
    with suppress(DataError), transaction.atomic():
        try:
            connection.cursor().execute("SELECT 1 / 0")
        finally:
            started.append("failed")
            assert gate.end_transaction.wait(timeout=10)
    return HttpResponse("rolled back")


def context(_request: HttpRequest) -> HttpResponse:
    """Return a context variable and the name of the thread."""
    return HttpResponse(f"{get_contextvars().get('word')} {threading.current_thread().name}")


def cookies(_request: HttpRequest) -> HttpResponse:
    response = HttpResponse("x" * (FILE_BLOCK + 1), status=201)
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


def as_async(view: Callable[[HttpRequest], HttpResponseBase]) -> Any:
    """Return the same view as an asynchronous one."""

    async def wrapped(request: HttpRequest) -> HttpResponseBase:
        return await sync_to_async(view)(request)

    return wrapped


async def event_loop(_request: HttpRequest) -> HttpResponse:
    """Return the identity of the event loop that runs this view."""
    return HttpResponse(str(id(asyncio.get_running_loop())))


class OtherURLconf:
    urlpatterns = (path("moved/", event_loop),)


class Gate:
    """A stream of three parts. The second and the third wait for ``next_part``."""

    def __init__(self) -> None:
        self.next_part = threading.Semaphore(0)
        self.end_transaction = threading.Event()
        self.closed = threading.Event()

    def parts(self) -> Iterator[bytes]:
        try:
            for number in range(3):
                if number:
                    assert self.next_part.acquire(timeout=10)
                yield f"{number}{User.objects.count()}".encode()
        finally:
            self.closed.set()

    async def parts_async(self) -> AsyncIterator[bytes]:
        parts = self.parts()
        next_part = sync_to_async(lambda: next(parts, None))
        try:
            while part := await next_part():
                yield part
        finally:
            self.closed.set()


gate = Gate()


def stream(_request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(gate.parts())


def async_stream(_request: HttpRequest) -> StreamingHttpResponse:
    """Stream from an asynchronous iterator, after a query."""
    assert User.objects.count() == 0
    return StreamingHttpResponse(gate.parts_async())


def begun_stream(request: HttpRequest) -> StreamingHttpResponse:
    """Stream users from an iterator whose first user the view has already read."""

    def emails() -> Iterator[str]:
        for user in User.objects.order_by("email").iterator(chunk_size=1):
            yield f"{user.email} "

    def emails_in_transaction() -> Iterator[str]:
        with transaction.atomic():
            yield from emails()
            User.objects.create(email="written@example.com")

    users = emails_in_transaction() if "transaction" in request.GET else emails()
    first = next(users)

    def parts() -> Iterator[str]:
        yield first
        assert gate.next_part.acquire(timeout=10)
        yield from users

    return StreamingHttpResponse(parts())


async def open_stream(request: HttpRequest) -> StreamingHttpResponse:
    """Query as request.auser() does, and stream one event, then nothing more."""
    await User.objects.acount()

    async def events() -> AsyncIterator[str]:
        yield f"{await User.objects.acount()}"
        await asyncio.sleep(60)

    return StreamingHttpResponse(events())


def broken_stream(request: HttpRequest) -> StreamingHttpResponse:
    """Stream one part, then fail."""

    def parts() -> Iterator[str]:
        yield "first"
        raise ZeroDivisionError

    async def parts_async() -> AsyncIterator[str]:
        for part in parts():
            yield part

    return StreamingHttpResponse(parts_async() if "async" in request.GET else parts())


def wait(_request: HttpRequest) -> HttpResponse:
    """Hold the thread until the gate opens."""
    started.append(threading.current_thread().name)
    assert gate.next_part.acquire(timeout=10)
    return HttpResponse("waited")


started: list[str] = []


def file(request: HttpRequest) -> FileResponse:
    return FileResponse(Path(request.GET["path"]).open("rb"))


class BrokenConverter:
    """A faulty path converter. Only a ValueError would mean "no match"."""

    regex = "[a-z]+"

    def to_python(self, value: str) -> str:
        raise RuntimeError("broken converter")

    def to_url(self, value: str) -> str:
        return value


register_converter(BrokenConverter, "broken")


VIEWS: tuple[Callable[[HttpRequest], HttpResponseBase], ...] = (
    *(raising, template, upload, query, context, cookies),
    *(stream, async_stream, file),
)
urlpatterns = [
    *(path(f"sync/{view.__name__}/", view) for view in VIEWS),
    *(path(f"async/{view.__name__}/", as_async(view)) for view in VIEWS),
    path("event_loop/", event_loop),
    path("begun_stream/", begun_stream),
    path("broken_stream/", broken_stream),
    path("failed_transaction/", failed_transaction),
    path("open_stream/", open_stream),
    path("wait/", wait),
    path("convert/<broken:word>/", query),
]


def page(_request: HttpRequest, slug: str = "about") -> HttpResponse:
    return HttpResponse(slug)


class LocalizedURLconf:
    """A page below /de/, and a catch-all for the default language, which has no prefix."""

    urlpatterns = (
        *i18n_patterns(path("about/", page), prefix_default_language=False),
        path("<path:slug>", page),
    )


# -- a client -------------------------------------------------------------------------------------


class Exchange:
    """One request and its response, as an ASGI server passes them."""

    def __init__(self, address: str, body: Sequence[bytes] = (), **headers: str) -> None:
        """GET ``address``, or POST a body in the given pieces."""
        self.pieces = list(body) or [b""]
        self.scope = {
            "type": "http",
            "method": "POST" if body else "GET",
            "path": address.partition("?")[0],
            "query_string": address.partition("?")[2].encode(),
            "headers": [
                (name.replace("_", "-").encode(), value.encode())
                for name, value in {"host": "localhost", **headers}.items()
            ],
        }
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.parts: list[bytes] = []
        self.on_part: Callable[[], object] = lambda: None
        self.disconnected = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        if not self.pieces:
            await self.disconnected.wait()
            return {"type": "http.disconnect"}
        piece = self.pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(self.pieces)}

    async def send(self, event: dict[str, Any]) -> None:
        if event["type"] == "http.response.start":
            self.status = event["status"]
            self.headers = [(name.decode(), value.decode()) for name, value in event["headers"]]
        elif event.get("body"):
            self.parts.append(event["body"])
            self.on_part()

    async def __call__(self, handler: Any) -> Exchange:
        """Send the request; return when the handler is done with it."""
        async with asyncio.timeout(30):
            await handler(self.scope, self.receive, self.send)
        return self

    @property
    def text(self) -> str:
        return b"".join(self.parts).decode()


def request(
    handler: ASGIHandler, address: str, body: Sequence[bytes] = (), **headers: str
) -> Exchange:
    """Send one request to the handler; return the exchange."""

    async def exchange() -> Exchange:
        return await Exchange(address, body, **headers)(handler)

    return asyncio.run(exchange())


async def until(condition: Callable[[], object]) -> None:
    """Return when the condition is true; fail after ten seconds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def site(settings: Settings) -> None:
    """The URLs above, and middleware of each kind."""
    global gate
    gate = Gate()
    started.clear()
    settings.ROOT_URLCONF = __name__
    names = ("synchronous", "switch_urlconf", "asynchronous", "Hooks")
    settings.MIDDLEWARE = [f"{__name__}.{name}" for name in names]


@pytest.fixture(params=["Django's own", "this project's"])
def handler(request: pytest.FixtureRequest, site: None) -> ASGIHandler:
    """Django's handler, as the reference, and ours."""
    if request.param == "Django's own":
        return ASGIHandler()
    return ThreadPoolASGIHandler(THREADS)


@pytest.fixture
def ours(site: None) -> ThreadPoolASGIHandler:
    return ThreadPoolASGIHandler(THREADS)


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    """The first part of a view's path, which says whether the view is asynchronous."""
    return str(request.param)


@pytest.fixture
def signals() -> Iterator[list[str]]:
    """The request signals in the order in which they were sent."""
    seen: list[str] = []
    receivers = {
        request_started: lambda **_: seen.append("started"),
        request_finished: lambda **_: seen.append("finished"),
        got_request_exception: lambda **_: seen.append("exception"),
    }
    for signal, receiver in receivers.items():
        signal.connect(receiver)
    yield seen
    for signal, receiver in receivers.items():
        signal.disconnect(receiver)


def connections_in_use() -> int:
    stats = connection.pool.get_stats()  # type: ignore[attr-defined]
    return int(stats["pool_size"] - stats["pool_available"])


@pytest.fixture
def idle_connections(transactional_db: None) -> Iterator[int]:
    """The number of connections in use; fails if more are in use after the test."""
    connection.close()
    before = connections_in_use()
    yield before
    connection.close()
    # The pool takes connections back in a thread of its own.
    end = time.monotonic() + 10
    while connections_in_use() > before:
        assert time.monotonic() < end, "connections are missing from the pool"
        time.sleep(0.01)


# -- agreement with Django's own handler ----------------------------------------------------------


def test_middleware_of_every_kind_runs_in_order(handler: ASGIHandler, kind: str) -> None:
    response = request(handler, f"/{kind}/context/")
    assert dict(response.headers)["X-Trail"] == "synchronous asynchronous both view synchronous"
    response = request(handler, f"/{kind}/template/")
    trail = "synchronous asynchronous both view template synchronous"
    assert (response.text, dict(response.headers)["X-Trail"]) == ("rendered", trail)


@pytest.mark.parametrize(
    ("error", "status", "sent"),
    [
        ("Http404", 404, ["started", "finished"]),
        ("PermissionDenied", 403, ["started", "finished"]),
        ("SuspiciousOperation", 400, ["started", "finished"]),
        ("KeyError", 418, ["started", "finished"]),
        ("ValueError", 500, ["started", "exception", "finished"]),
    ],
)
def test_exception_in_view_reaches_middleware_and_signals(
    handler: ASGIHandler, kind: str, signals: list[str], error: str, status: int, sent: list[str]
) -> None:
    response = request(handler, f"/{kind}/raising/?error={error}")
    assert (response.status, signals) == (status, sent)
    assert error in dict(response.headers)["X-Trail"]


def test_unknown_path_gives_404(handler: ASGIHandler, signals: list[str]) -> None:
    assert request(handler, "/nowhere/").status == 404
    assert signals == ["started", "finished"]


def test_language_prefix_selects_the_localized_view(
    handler: ASGIHandler, settings: Settings
) -> None:
    settings.ROOT_URLCONF = LocalizedURLconf
    settings.MIDDLEWARE = ["django.middleware.locale.LocaleMiddleware"]
    ours = ThreadPoolASGIHandler(THREADS) if type(handler) is not ASGIHandler else ASGIHandler()
    assert request(ours, "/de/about/").text == "about"
    assert request(ours, "/de/other/").text == "de/other/"


def test_exception_in_path_converter_gives_logged_500(
    handler: ASGIHandler, signals: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "django.request"):
        logging.getLogger("django").addHandler(caplog.handler)
        response = request(handler, "/convert/word/")
        logging.getLogger("django").removeHandler(caplog.handler)
    assert (response.status, signals) == (500, ["started", "exception", "finished"])
    assert "Internal Server Error: /convert/word/" in caplog.messages


def test_undecodable_query_gives_400(handler: ASGIHandler, signals: list[str]) -> None:
    exchange = Exchange("/sync/context/")
    exchange.scope["query_string"] = b"\xff"
    asyncio.run(exchange(handler))
    assert (exchange.status, signals) == (400, ["started", "finished"])


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_upload_arrives_complete(handler: ASGIHandler, kind: str, size: int) -> None:
    content = b"0123456789" * (size // 10)
    fields = (
        b'--x\r\nContent-Disposition: form-data; name="word"\r\n\r\nhello\r\n'
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    )
    body = fields + content + b"\r\n--x--\r\n"
    pieces = [body[start : start + 100_000] for start in range(0, len(body), 100_000)]
    headers = {
        "content_type": "multipart/form-data; boundary=x",
        "content_length": str(len(body)),
    }
    response = request(handler, f"/{kind}/upload/", pieces, **headers)
    file_class = "InMemoryUploadedFile" if size < 2**20 else "TemporaryUploadedFile"
    assert response.text == f"hello {file_class} {hashlib.sha256(content).hexdigest()}"


def test_disconnect_during_upload_drops_the_request(
    handler: ASGIHandler, kind: str, signals: list[str]
) -> None:
    async def disconnect() -> Exchange:
        exchange = Exchange(f"/{kind}/upload/", [b"half", b"other half"])

        async def receive() -> dict[str, Any]:
            if len(exchange.pieces) == 1:
                return {"type": "http.disconnect"}
            return await Exchange.receive(exchange)

        exchange.receive = receive  # type: ignore[method-assign]
        return await exchange(handler)

    assert (asyncio.run(disconnect()).status, signals) == (0, [])


def test_cookies_status_and_long_body_arrive(handler: ASGIHandler, kind: str) -> None:
    response = request(handler, f"/{kind}/cookies/")
    cookies = [value for name, value in response.headers if name == "Set-Cookie"]
    assert (response.status, cookies) == (201, ["a=1; Path=/", "b=2; Path=/"])
    assert response.text == "x" * (FILE_BLOCK + 1)


@pytest.mark.parametrize("size", [0, 1000, FILE_BLOCK, 3 * FILE_BLOCK + 1])
def test_file_arrives_complete(
    handler: ASGIHandler, signals: list[str], tmp_path: Path, size: int
) -> None:
    content = hashlib.shake_256().digest(size)
    (tmp_path / "file").write_bytes(content)
    if type(handler) is ASGIHandler:
        with pytest.warns(Warning, match="must consume synchronous iterators"):
            response = request(handler, f"/sync/file/?path={tmp_path / 'file'}")
    else:
        response = request(handler, f"/sync/file/?path={tmp_path / 'file'}")
    assert b"".join(response.parts) == content
    assert dict(response.headers)["Content-Length"] == str(size)
    assert signals == ["started", "finished"]


def test_small_file_is_finished_before_it_is_sent(
    ours: ThreadPoolASGIHandler, signals: list[str], tmp_path: Path
) -> None:
    """So a client that reads slowly holds neither a thread nor a connection."""
    (tmp_path / "file").write_bytes(b"small")

    async def download() -> None:
        exchange = Exchange(f"/sync/file/?path={tmp_path / 'file'}")
        exchange.on_part = lambda: signals.append("sent")
        await exchange(ours)

    asyncio.run(download())
    assert signals == ["started", "finished", "sent"]


def test_context_variables_reach_the_view(handler: ASGIHandler, kind: str) -> None:
    with bound_contextvars(word="hello"):
        assert request(handler, f"/{kind}/context/").text.startswith("hello ")


def test_async_view_runs_in_the_servers_event_loop(handler: ASGIHandler) -> None:
    async def exchanges() -> list[str]:
        # A middleware chooses the URLconf of the second request.
        responses = [await Exchange(path)(handler) for path in ("/event_loop/", "/moved/")]
        return [str(id(asyncio.get_running_loop())), *(each.text for each in responses)]

    assert len(set(asyncio.run(exchanges()))) == 1


# -- streams --------------------------------------------------------------------------------------

# Django's own handler makes all parts of a synchronous stream before it sends the first.
STREAMS = ("sync/stream", "sync/async_stream", "async/stream", "async/async_stream")


@pytest.mark.parametrize("address", STREAMS)
def test_each_part_of_a_stream_is_sent_before_the_next_is_made(
    idle_connections: int, ours: ThreadPoolASGIHandler, signals: list[str], address: str
) -> None:
    async def watch() -> None:
        exchange = Exchange(f"/{address}/")

        def on_part() -> None:
            signals.append(exchange.parts[-1].decode())
            gate.next_part.release()

        exchange.on_part = on_part
        await exchange(ours)

    asyncio.run(watch())
    assert signals == ["started", "00", "10", "20", "finished"]


@pytest.mark.parametrize("address", STREAMS)
def test_disconnect_closes_the_stream(
    idle_connections: int, ours: ThreadPoolASGIHandler, signals: list[str], address: str
) -> None:
    async def disconnect() -> Exchange:
        exchange = Exchange(f"/{address}/")

        def on_part() -> None:
            exchange.disconnected.set()
            gate.next_part.release()

        exchange.on_part = on_part
        return await exchange(ours)

    assert len(asyncio.run(disconnect()).parts) < 3
    assert gate.closed.is_set()
    assert signals == ["started", "finished"]


@pytest.mark.parametrize("address", STREAMS)
def test_cancelled_stream_is_closed(
    idle_connections: int, ours: ThreadPoolASGIHandler, signals: list[str], address: str
) -> None:
    """A worker cancels its open streams when it has to stop."""

    async def cancel() -> None:
        exchange = Exchange(f"/{address}/")
        task = asyncio.create_task(exchange(ours))
        await until(lambda: exchange.parts)
        task.cancel()
        gate.next_part.release()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert gate.closed.is_set()

    asyncio.run(cancel())
    assert signals == ["started", "finished"]


@pytest.mark.parametrize("query", ["", "?async"])
def test_error_in_a_stream_reaches_the_server_which_logs_it_and_closes_the_connection(
    ours: ThreadPoolASGIHandler, signals: list[str], query: str
) -> None:
    async def broken() -> None:
        exchange = Exchange(f"/broken_stream/{query}")
        with pytest.raises(ZeroDivisionError):
            await exchange(ours)
        assert exchange.text == "first"

    asyncio.run(broken())
    assert signals == ["started", "finished"]


@pytest.mark.parametrize("prefixes", [(), ("/open_stream/",)])
def test_open_streams_hold_no_connection(
    idle_connections: int, site: None, settings: Settings, prefixes: tuple[str, ...]
) -> None:
    settings.ASYNC_PATH_PREFIXES = prefixes

    async def streams() -> None:
        handler = ThreadPoolASGIHandler(THREADS)
        exchanges = [Exchange("/open_stream/") for _ in range(CROWD)]
        tasks = [asyncio.create_task(exchange(handler)) for exchange in exchanges]
        await until(lambda: all(exchange.parts for exchange in exchanges))
        await until(lambda: connections_in_use() <= idle_connections)
        for exchange in exchanges:
            exchange.disconnected.set()
        await asyncio.gather(*tasks)

    asyncio.run(streams())


@pytest.mark.parametrize("disconnects", [False, True])
@pytest.mark.parametrize("kind", ["iterator", "transaction"])
def test_begun_stream_is_not_broken_by_failed_transactions_of_others(
    idle_connections: int, site: None, kind: str, disconnects: bool
) -> None:
    User.objects.bulk_create(User(email=f"{name}@example.com") for name in "abc")
    connection.close()
    pool_size = connection.pool.max_size  # type: ignore[attr-defined]
    # A transaction keeps its connection, an iterator does not.
    others = pool_size - idle_connections - (kind == "transaction")

    async def exchanges() -> str:
        handler = ThreadPoolASGIHandler(others)
        exchange = Exchange(f"/begun_stream/?{kind}")
        streaming = asyncio.create_task(exchange(handler))
        await until(lambda: exchange.parts)
        tasks = [
            asyncio.create_task(Exchange("/failed_transaction/")(handler)) for _ in range(others)
        ]
        await until(lambda: len(started) == others)
        if disconnects:
            exchange.disconnected.set()
        gate.next_part.release()
        try:
            await streaming
        finally:
            gate.end_transaction.set()
        assert {(await task).text for task in tasks} == {"rolled back"}
        # The thread that ran the view serves other requests.
        responses = await asyncio.gather(*(Exchange("/sync/query/")(handler) for _ in tasks))
        assert {response.status for response in responses} == {200}
        return exchange.text

    text = asyncio.run(exchanges())
    if not disconnects:
        assert text == "a@example.com b@example.com c@example.com "
    written = User.objects.filter(email="written@example.com").exists()
    assert written is (kind == "transaction" and not disconnects)


# -- threads and connections ----------------------------------------------------------------------


def test_connections_return_to_the_pool(
    idle_connections: int, handler: ASGIHandler, kind: str
) -> None:
    async def crowds() -> set[int]:
        paths = [f"/{kind}/query/", f"/{kind}/raising/?error=KeyError"] * (CROWD // 2)
        responses = []
        for _ in range(5):
            responses += await asyncio.gather(*(Exchange(path)(handler) for path in paths))
        return {response.status for response in responses}

    assert asyncio.run(crowds()) == {200, 418}


def test_connection_that_is_not_http_is_refused(ours: ThreadPoolASGIHandler) -> None:
    exchange = Exchange("/sync/context/")
    exchange.scope["type"] = "websocket"
    with pytest.raises(ValueError, match="only handle ASGI/HTTP connections"):
        asyncio.run(exchange(ours))


def test_synchronous_views_share_a_few_threads(ours: ThreadPoolASGIHandler) -> None:
    async def crowd() -> list[Exchange]:
        return await asyncio.gather(*(Exchange("/sync/context/")(ours) for _ in range(CROWD)))

    names = {response.text for response in asyncio.run(crowd())}
    assert names <= {f"None view_{number}" for number in range(THREADS)}


@pytest.mark.parametrize("root_path", ["", "/below"])
def test_path_below_async_prefix_needs_no_free_thread(
    site: None, settings: Settings, root_path: str
) -> None:
    settings.ASYNC_PATH_PREFIXES = ("/event_loop/",)

    async def exchanges() -> str:
        handler = ThreadPoolASGIHandler(THREADS)
        tasks = [asyncio.create_task(Exchange("/wait/")(handler)) for _ in range(THREADS)]
        await until(lambda: len(started) == THREADS)
        exchange = Exchange(f"{root_path}/event_loop/")
        exchange.scope["root_path"] = root_path
        async with asyncio.timeout(5):
            text = (await exchange(handler)).text
        gate.next_part.release(THREADS)
        await asyncio.gather(*tasks)
        return text

    assert asyncio.run(exchanges()).isdecimal()


def test_disconnected_clients_leave_the_queue(site: None, caplog: pytest.LogCaptureFixture) -> None:
    async def exchanges() -> None:
        handler = ThreadPoolASGIHandler(THREADS)
        site = AccessLog(cast("ASGI3Application", handler), 0)
        everyone = [Exchange("/wait/") for _ in range(CROWD)]
        tasks = [asyncio.create_task(exchange(site)) for exchange in everyone]
        await until(lambda: len(started) == THREADS)
        for exchange in everyone:
            exchange.disconnected.set()
        # The queue has room at once, while the threads are still busy.
        await until(lambda: handler.queued == 0)
        tasks.append(asyncio.create_task((last := Exchange("/wait/"))(site)))
        gate.next_part.release(THREADS + 1)
        await asyncio.gather(*tasks)
        assert last.text == "waited"

    logging.getLogger("access").addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, "access"):
        asyncio.run(exchanges())
    logging.getLogger("access").removeHandler(caplog.handler)
    # The views of the dropped requests never ran.
    assert len(started) == THREADS + 1
    statuses = [record.status for record in caplog.records]  # type: ignore[attr-defined]
    assert statuses.count(499) == CROWD - THREADS


def test_client_that_leaves_as_its_turn_comes_frees_the_thread(ours: ThreadPoolASGIHandler) -> None:
    async def leave() -> None:
        for _ in range(THREADS):
            await ours.free_threads.acquire()
        message: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
        waiting = asyncio.create_task(ours._acquire_thread(lambda: message))
        await until(lambda: ours.queued == 1)
        await asyncio.sleep(0)
        # Both in one turn of the event loop.
        message.set_result({"type": "http.disconnect"})
        ours.free_threads.release()
        assert not await waiting
        async with asyncio.timeout(5):
            await ours.free_threads.acquire()

    asyncio.run(leave())


def test_full_queue_answers_503_at_once(site: None) -> None:
    async def exchanges() -> list[Exchange]:
        handler = ThreadPoolASGIHandler(THREADS)
        tasks = [asyncio.create_task(Exchange("/wait/")(handler)) for _ in range(CROWD)]
        await until(lambda: handler.queued == CROWD - THREADS)
        refused = [
            await Exchange("/sync/context/", accept=accept)(handler)
            for accept in ("text/html", "application/json")
        ]
        gate.next_part.release(CROWD)
        assert {(await task).text for task in tasks} == {"waited"}
        return refused

    refused = asyncio.run(exchanges())
    for response, content_type in zip(refused, ("text/html", "application/json"), strict=True):
        headers = dict(response.headers)
        assert response.status == 503
        assert headers["Content-Type"].startswith(content_type)
        assert (headers["Retry-After"], headers["Cache-Control"]) == ("5", "no-store")
