"""Requests through this project's ASGI handler go as through Django's own, whatever the view is."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.core.files.uploadedfile import UploadedFile
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import got_request_exception, request_finished, request_started
from django.db import connection
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
from django.urls import path
from django.utils.decorators import async_only_middleware, sync_only_middleware
from django.utils.deprecation import MiddlewareMixin
from pytest_django import Settings
from structlog.contextvars import bound_contextvars, get_contextvars

from accounts.models import User
from serving.asgi_handler import FILE_BLOCK, Handler

THREADS = 3

# -- a site ---------------------------------------------------------------------------------------


def trail(request: HttpRequest) -> list[str]:
    """Return the list of who has seen the request."""
    return request.__dict__.setdefault("trail", [])  # type: ignore[no-any-return]


@sync_only_middleware
def synchronous(get_response: Callable[[HttpRequest], HttpResponse]) -> Any:
    """Leave a trace on the way in and out."""

    def middleware(request: HttpRequest) -> HttpResponse:
        trail(request).append("synchronous")
        response = get_response(request)
        response["X-Trail"] = " ".join(trail(request)) + " synchronous"
        return response

    return middleware


@async_only_middleware
def asynchronous(get_response: Callable[[HttpRequest], Awaitable[HttpResponse]]) -> Any:
    """Leave a trace."""

    async def middleware(request: HttpRequest) -> HttpResponse:
        trail(request).append("asynchronous")
        return await get_response(request)

    return middleware


class Hooks(MiddlewareMixin):
    """Middleware for both chains: leave a trace in every hook, and mend a LookupError."""

    def process_request(self, request: HttpRequest) -> None:
        """Leave a trace."""
        trail(request).append("both")

    def process_view(self, request: HttpRequest, *_view: object) -> None:
        """Leave a trace."""
        trail(request).append("view")

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Leave a trace, and maybe mend it."""
        trail(request).append(type(error).__name__)
        return HttpResponse("mended", status=418) if isinstance(error, LookupError) else None

    def process_template_response(
        self, request: HttpRequest, response: TemplateResponse
    ) -> TemplateResponse:
        """Leave a trace."""
        trail(request).append("template")
        return response


@sync_only_middleware
def elsewhere(get_response: Callable[[HttpRequest], HttpResponse]) -> Any:
    """Send /moved/ to other addresses than the project's."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if request.path == "/moved/":
            request.urlconf = Elsewhere  # type: ignore[assignment]
        return get_response(request)

    return middleware


def raised(request: HttpRequest) -> HttpResponse:
    """Raise what the query names."""
    errors = (Http404, PermissionDenied, SuspiciousOperation, KeyError, ValueError)
    raise {error.__name__: error for error in errors}[request.GET["error"]]


def templated(request: HttpRequest) -> TemplateResponse:
    """Leave the rendering to Django."""
    return TemplateResponse(request, engines["django"].from_string("rendered"))


def uploaded(request: HttpRequest) -> HttpResponse:
    """Tell what came."""
    file = request.FILES["file"]
    assert isinstance(file, UploadedFile)
    digest = hashlib.sha256(b"".join(file.chunks())).hexdigest()
    return HttpResponse(f"{request.POST['word']} {type(file).__name__} {digest}")


def counted(_request: HttpRequest) -> HttpResponse:
    """Ask the database."""
    return HttpResponse(str(User.objects.count()))


def told(_request: HttpRequest) -> HttpResponse:
    """Tell what the context holds, and who runs this."""
    return HttpResponse(f"{get_contextvars().get('word')} {threading.current_thread().name}")


def cookies(_request: HttpRequest) -> HttpResponse:
    """Set two."""
    response = HttpResponse("x" * (FILE_BLOCK + 1), status=201)
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


def asynchronously(view: Callable[[HttpRequest], HttpResponseBase]) -> Any:
    """Return the same view as an asynchronous one."""

    async def wrapped(request: HttpRequest) -> HttpResponseBase:
        return await sync_to_async(view)(request)

    return wrapped


async def loop_told(_request: HttpRequest) -> HttpResponse:
    """Tell which loop runs this."""
    return HttpResponse(str(id(asyncio.get_running_loop())))


class Elsewhere:
    """Other addresses."""

    urlpatterns = (path("moved/", loop_told),)


class Gate:
    """A stream of three parts, which makes each after the first only when it may."""

    def __init__(self) -> None:
        """Let nothing through."""
        self.may = threading.Semaphore(0)
        self.closed = threading.Event()

    def parts(self) -> Iterator[bytes]:
        """Make them, each with a query."""
        try:
            for number in range(3):
                if number:
                    assert self.may.acquire(timeout=20)
                yield f"{number}{User.objects.count()}".encode()
        finally:
            self.closed.set()

    async def parts_async(self) -> AsyncIterator[bytes]:
        """Make them asynchronously."""
        parts = self.parts()
        following = sync_to_async(lambda: next(parts, None))
        try:
            while part := await following():
                yield part
        finally:
            self.closed.set()


gate = Gate()


def streamed(_request: HttpRequest) -> StreamingHttpResponse:
    """Stream from a synchronous iterator."""
    return StreamingHttpResponse(gate.parts())


def streamed_async(_request: HttpRequest) -> StreamingHttpResponse:
    """Stream from an asynchronous iterator, having asked the database."""
    assert User.objects.count() == 0
    return StreamingHttpResponse(gate.parts_async())


def file(request: HttpRequest) -> FileResponse:
    """Send a file."""
    return FileResponse(Path(request.GET["path"]).open("rb"))


VIEWS: tuple[Callable[[HttpRequest], HttpResponseBase], ...] = (
    *(raised, templated, uploaded, counted, told, cookies),
    *(streamed, streamed_async, file),
)
urlpatterns = [
    *(path(f"sync/{view.__name__}/", view) for view in VIEWS),
    *(path(f"async/{view.__name__}/", asynchronously(view)) for view in VIEWS),
    path("loop/", loop_told),
]

# -- a client -------------------------------------------------------------------------------------


class Visit:
    """One request, driven by hand."""

    def __init__(self, address: str, body: Sequence[bytes] = (), **headers: str) -> None:
        """GET, or POST a body in the given pieces."""
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
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        """Give the body, then wait for the client to go."""
        if not self.pieces:
            await self.gone.wait()
            return {"type": "http.disconnect"}
        piece = self.pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(self.pieces)}

    async def send(self, event: dict[str, Any]) -> None:
        """Take what is sent."""
        if event["type"] == "http.response.start":
            self.status = event["status"]
            self.headers = [(name.decode(), value.decode()) for name, value in event["headers"]]
        elif event.get("body"):
            self.parts.append(event["body"])
            self.on_part()

    async def __call__(self, handler: ASGIHandler) -> Visit:
        """Ask, and return when the handler is done."""
        async with asyncio.timeout(30):
            await handler(self.scope, self.receive, self.send)  # type: ignore[arg-type]
        return self

    @property
    def text(self) -> str:
        """The whole body."""
        return b"".join(self.parts).decode()


def ask(handler: ASGIHandler, address: str, body: Sequence[bytes] = (), **headers: str) -> Visit:
    """Send one request to the handler."""

    async def visit() -> Visit:
        return await Visit(address, body, **headers)(handler)

    return asyncio.run(visit())


@pytest.fixture
def site(settings: Settings) -> None:
    """The addresses above, and middleware of each kind."""
    global gate
    gate = Gate()
    settings.ROOT_URLCONF = __name__
    names = ("synchronous", "elsewhere", "asynchronous", "Hooks")
    settings.MIDDLEWARE = [f"{__name__}.{name}" for name in names]


@pytest.fixture(params=["Django's own", "this project's"])
def handler(request: pytest.FixtureRequest, site: None) -> ASGIHandler:
    """Django's handler, which says what is right, and ours."""
    return ASGIHandler() if request.param == "Django's own" else Handler(THREADS)


@pytest.fixture
def ours(site: None) -> Handler:
    """Our handler."""
    return Handler(THREADS)


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of the view, as its address begins."""
    return str(request.param)


@pytest.fixture
def signals() -> Iterator[list[str]]:
    """The request signals, in the order they came."""
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


@pytest.fixture
def whole_pool(transactional_db: None) -> Iterator[None]:
    """After the test, all database connections must be back in the pool."""
    pool = connection.pool  # type: ignore[attr-defined]

    def lent() -> int:
        stats = pool.get_stats()
        return int(stats["pool_size"] - stats["pool_available"])

    before = lent()
    yield
    # The pool takes them back in a thread of its own.
    end = time.monotonic() + 10
    while lent() > before:
        assert time.monotonic() < end, "connections are missing"
        time.sleep(0.01)


# -- tests ----------------------------------------------------------------------------------------


def test_middleware_of_every_kind_is_passed_in_order(handler: ASGIHandler, kind: str) -> None:
    answer = ask(handler, f"/{kind}/told/")
    assert dict(answer.headers)["X-Trail"] == "synchronous asynchronous both view synchronous"
    answer = ask(handler, f"/{kind}/templated/")
    trail = "synchronous asynchronous both view template synchronous"
    assert (answer.text, dict(answer.headers)["X-Trail"]) == ("rendered", trail)


@pytest.mark.parametrize(
    ("error", "status", "came"),
    [
        ("Http404", 404, ["started", "finished"]),
        ("PermissionDenied", 403, ["started", "finished"]),
        ("SuspiciousOperation", 400, ["started", "finished"]),
        ("KeyError", 418, ["started", "finished"]),
        ("ValueError", 500, ["started", "exception", "finished"]),
    ],
)
def test_exception(
    handler: ASGIHandler, kind: str, signals: list[str], error: str, status: int, came: list[str]
) -> None:
    answer = ask(handler, f"/{kind}/raised/?error={error}")
    assert (answer.status, signals) == (status, came)
    assert error in dict(answer.headers)["X-Trail"]


def test_unknown_address(handler: ASGIHandler, signals: list[str]) -> None:
    assert ask(handler, "/nowhere/").status == 404
    assert signals == ["started", "finished"]


def test_a_query_that_is_no_text(handler: ASGIHandler, signals: list[str]) -> None:
    visit = Visit("/sync/told/")
    visit.scope["query_string"] = b"\xff"
    asyncio.run(visit(handler))
    assert (visit.status, signals) == (400, ["started", "finished"])


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_upload(handler: ASGIHandler, kind: str, size: int) -> None:
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
    answer = ask(handler, f"/{kind}/uploaded/", pieces, **headers)
    where = "InMemoryUploadedFile" if size < 2**20 else "TemporaryUploadedFile"
    assert answer.text == f"hello {where} {hashlib.sha256(content).hexdigest()}"


def test_a_client_that_goes_while_it_uploads(
    handler: ASGIHandler, kind: str, signals: list[str]
) -> None:
    async def leave() -> Visit:
        visit = Visit(f"/{kind}/uploaded/", [b"half", b"other half"])

        async def receive() -> dict[str, Any]:
            if len(visit.pieces) == 1:
                return {"type": "http.disconnect"}
            return await Visit.receive(visit)

        visit.receive = receive  # type: ignore[method-assign]
        return await visit(handler)

    assert (asyncio.run(leave()).status, signals) == (0, [])


def test_cookies_status_and_a_long_body(handler: ASGIHandler, kind: str) -> None:
    answer = ask(handler, f"/{kind}/cookies/")
    cookies = [value for name, value in answer.headers if name == "Set-Cookie"]
    assert (answer.status, cookies) == (201, ["a=1; Path=/", "b=2; Path=/"])
    assert answer.text == "x" * (FILE_BLOCK + 1)


# Of a synchronous stream Django's own handler makes all parts first, and so does ours for an
# asynchronous view.
STREAMS = ("sync/streamed", "sync/streamed_async", "async/streamed_async")


@pytest.mark.parametrize("address", STREAMS)
def test_a_stream_is_sent_as_it_is_made(
    whole_pool: None, ours: Handler, signals: list[str], address: str
) -> None:
    async def watch() -> None:
        visit = Visit(f"/{address}/")

        def on_part() -> None:
            signals.append(visit.parts[-1].decode())
            gate.may.release()

        visit.on_part = on_part
        await visit(ours)

    asyncio.run(watch())
    assert signals == ["started", "00", "10", "20", "finished"]


@pytest.mark.parametrize("address", STREAMS)
def test_a_client_that_goes_ends_the_stream(
    whole_pool: None, ours: Handler, signals: list[str], address: str
) -> None:
    async def leave() -> Visit:
        visit = Visit(f"/{address}/")

        def on_part() -> None:
            visit.gone.set()
            gate.may.release()

        visit.on_part = on_part
        return await visit(ours)

    assert len(asyncio.run(leave()).parts) < 3
    assert gate.closed.is_set()
    assert signals == ["started", "finished"]


@pytest.mark.parametrize("size", [0, 1000, FILE_BLOCK, 3 * FILE_BLOCK + 1])
def test_file(handler: ASGIHandler, signals: list[str], tmp_path: Path, size: int) -> None:
    content = hashlib.shake_256().digest(size)
    (tmp_path / "file").write_bytes(content)
    if type(handler) is ASGIHandler:
        with pytest.warns(Warning, match="must consume synchronous iterators"):
            answer = ask(handler, f"/sync/file/?path={tmp_path / 'file'}")
    else:
        answer = ask(handler, f"/sync/file/?path={tmp_path / 'file'}")
    assert b"".join(answer.parts) == content
    assert dict(answer.headers)["Content-Length"] == str(size)
    assert signals == ["started", "finished"]


def test_connections_go_back_to_the_pool(whole_pool: None, handler: ASGIHandler, kind: str) -> None:
    async def crowd() -> list[Visit]:
        visits = [Visit(f"/{kind}/{name}/") for name in ("counted", "raised/?error=KeyError") * 15]
        return await asyncio.gather(*(visit(handler) for visit in visits))

    assert {answer.status for answer in asyncio.run(crowd())} == {200, 418}


def test_synchronous_views_share_a_few_threads(ours: Handler) -> None:
    async def crowd() -> list[Visit]:
        return await asyncio.gather(*(Visit("/sync/told/")(ours) for _ in range(50)))

    names = {answer.text for answer in asyncio.run(crowd())}
    assert names <= {f"None view_{number}" for number in range(THREADS)}


def test_the_request_has_its_context(handler: ASGIHandler, kind: str) -> None:
    with bound_contextvars(word="hello"):
        assert ask(handler, f"/{kind}/told/").text.startswith("hello ")


def test_asynchronous_views_run_in_the_servers_loop_wherever_they_are(
    handler: ASGIHandler,
) -> None:
    async def visits() -> list[str]:
        # The second is one that a middleware knows, and the URLconf does not.
        answers = [await Visit(address)(handler) for address in ("/loop/", "/moved/")]
        return [str(id(asyncio.get_running_loop())), *(answer.text for answer in answers)]

    assert len(set(asyncio.run(visits()))) == 1


def test_an_asynchronous_view_holds_no_thread_below_a_root_path(ours: Handler) -> None:
    async def visits() -> str:
        ours.respond = None  # type: ignore[assignment]
        visit = Visit("/below/loop/")
        visit.scope["root_path"] = "/below"
        return (await visit(ours)).text

    assert asyncio.run(visits()).isdecimal()
