"""Malformed and random requests to the ecs container cause no 500, no traceback and no leak.

The tests use raw sockets, because HTTP clients correct or refuse most of these requests. The random
requests have a fixed seed, so that a failure can be reproduced. There are about 1,500 requests.
"""

from __future__ import annotations

import contextlib
import random
import socket
import string
from collections.abc import Iterator, Mapping
from urllib.parse import quote_from_bytes, urlencode, urlsplit

import pytest

from scripts.stack.engine import Container, wait_for

SEED = 20261123
REQUESTS_PER_ROUND = 400  # in each of three rounds; the first two warm both workers up
MAX_GROWTH = 1.1  # factor by which the processes' memory may grow in the last round
RESPONSE_TIMEOUT = 3.0  # seconds

PATHS = [
    "/",
    "/admin/",
    "/admin/login/",
    "/static/admin/css/base.css",
    "/livez",
    "/readyz",
    "/none",
]
TRAVERSALS = [
    f"/static/{prefix}{target}"
    for prefix in (
        "../" * 8,
        "%2e%2e/" * 8,
        "%2e%2e%2f" * 8,
        "..%5c" * 8,
        "....//" * 8,
        "..%c0%af" * 8,
        "%252e%252e%252f" * 8,
        "/",
        "admin/" + "../" * 9,
    )
    for target in (
        "etc/passwd",
        "app/src/config/settings.py",
        "proc/self/environ",
        "etc/passwd%00.css",
    )
]
# Text that a file outside static/ would contain.
LEAKS = (b"root:x:0:0", b"INSTALLED_APPS", b"SECRET_KEY=", b"DATABASE_URL=")


class Wire:
    """Raw connections to a container's published port."""

    def __init__(self, container: Container) -> None:
        address = urlsplit(container.url)
        self.address = (str(address.hostname), int(address.port or 0))

    def send(self, request: bytes, whole: bool) -> bytes:
        """Send bytes and return the response; empty if the server closes or does not respond."""
        response = b""
        # The server may close the connection before it has read everything.
        closed = contextlib.suppress(ConnectionError, TimeoutError)
        with socket.create_connection(self.address, timeout=RESPONSE_TIMEOUT) as wire, closed:
            wire.sendall(request)
            if not whole:
                wire.shutdown(socket.SHUT_WR)
            while len(response) < 200_000 and (part := wire.recv(65_536)):
                response += part
        return response

    def check(self, request: bytes, *, whole: bool = True) -> bytes:
        """Send, and fail on a 500, a traceback or the content of a file.

        For a request that is not ``whole``, the sending side is closed to mark its end.
        """
        response = self.send(request, whole)
        shown = f"{request[:600]!r} got the response {response[:600]!r}"
        assert not response.startswith((b"HTTP/1.1 500", b"HTTP/1.0 500")), shown
        assert b"Traceback" not in response, shown
        assert not any(leak in response for leak in LEAKS), shown
        return response


def http(
    method: str = "GET",
    path: str | bytes = "/",
    headers: Mapping[str, str | bytes] | Mapping[str, str] | None = None,
    body: bytes = b"",
) -> bytes:
    """Return a request; the given parts are not escaped or checked."""
    fields: dict[str, str | bytes] = {"Host": "localhost", "Connection": "close"}
    if body:
        fields["Content-Length"] = str(len(body))
    fields |= headers or {}
    lines = [_bytes(method) + b" " + _bytes(path) + b" HTTP/1.1"]
    lines += [_bytes(name) + b": " + _bytes(value) for name, value in fields.items()]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


@pytest.fixture
def wire(web: Container) -> Wire:
    """Connections to the shared stack's web container."""
    return Wire(web)


@pytest.mark.parametrize("path", TRAVERSALS)
def test_path_traversal_does_not_leave_the_static_files(wire: Wire, path: str) -> None:
    response = wire.check(http(path=path))
    assert not response.startswith(b"HTTP/1.1 200")


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
FIELDS = [
    ("username", "a\0b@example.com"),
    ("username", "é" * 50_000),
    ("password", "a\0b"),
    ("password", "\udcff"),
    ("next", "//evil.example/\0"),
    ("next", "http://[::1"),
    ("csrfmiddlewaretoken", "\0" * 32),
]


@pytest.mark.parametrize(("field", "value"), FIELDS)
def test_unusual_login_form_causes_no_server_error(
    wire: Wire, web: Container, field: str, value: str
) -> None:
    browser = web.browser()
    browser.get("/admin/login/")
    token = browser.cookies["csrftoken"]
    form = {"username": "a@example.com", "password": "b", "csrfmiddlewaretoken": token}
    body = urlencode(form | {field: value}, errors="surrogateescape").encode()
    cookie = {"Cookie": f"csrftoken={token}"}
    response = wire.check(http("POST", "/admin/login/", FORM | cookie, body))
    assert response.startswith((b"HTTP/1.1 200", b"HTTP/1.1 403", b"HTTP/1.1 400"))


QUERIES = [
    "?q=%00",
    "?email=%00",
    "?is_staff__exact=maybe",
    "?id__exact=99999999999999999999999",
    "?p=-1",
    "?p=abc",
    "?o=99.x",
    "?password__startswith=pbkdf2",
    "?email__regex=(",
    "?_facets=%00",
    "99999999999999999999999/change/",
    "%00/change/",
    "_5f_00/change/",
    "1/history/?p=%00",
]


def test_unusual_admin_query_causes_no_server_error(wire: Wire, web: Container) -> None:
    browser = web.browser()
    password = web.stack.canaries["DJANGO_SUPERUSER_PASSWORD"]
    assert browser.login("admin@example.com", password).status == 302
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    for query in QUERIES:
        response = wire.check(
            http(path="/admin/accounts/user/" + query, headers={"Cookie": cookie})
        )
        assert response.startswith(b"HTTP/1.1 "), query


SESSIONS = [
    r'"abcdefgh\000ijklmnopqrstuvwxyz012345"',  # a quoted cookie may hold any byte
    r'"\377\376\375\374\373\372\371\370\367"',
    "../" * 20,
    "a" * 7000,
    "0" * 32,
    '"' + "'" * 40 + '; DROP TABLE django_session"',
    "%00" * 12,
]


@pytest.mark.parametrize("name", ["sessionid", "csrftoken", "messages"])
@pytest.mark.parametrize("value", SESSIONS)
def test_unusual_cookie_causes_no_server_error(wire: Wire, name: str, value: str) -> None:
    for path in ("/", "/admin/", "/admin/login/"):
        assert wire.check(http(path=path, headers={"Cookie": f"{name}={value}"}))


MALFORMED = [
    b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"get / http/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,  # a TLS handshake
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    http(method="CONNECT", path="example.com:443"),
    http(method="OPTIONS", path="*"),
    http(method="TRACE"),
    http(method="A" * 5000),
    http(path="http://evil.example/"),
    http(path="/" + "a" * 100_000),
    http(path="/?" + "a=b&" * 20_000),
    http(path=b"/\xff\xfe\0"),
    http(path="//evil.example/admin"),
    http(headers={"Host": "evil.example"}),
    http(headers={"Host": ""}),
    http(headers={"Host": "localhost:port"}),
    http(headers={"Host": "[::1"}),
    http(headers={"Host": b"\xff"}),
    http(headers={"Host": "localhost\r\nHost: evil.example"}),
    http(headers={"Cookie": "a=" + "b" * 60_000}),
    http(headers={f"X-{number}": "a" for number in range(2000)}),
    http(headers={"Accept-Language": "en;q=nan," * 500}),
    http(headers={"Accept-Encoding": "br;q=99,,;;"}),
    http(headers={"If-Modified-Since": "Thu, 99 Foo 99999 99:99:99 GMT"}),
    http(path=PATHS[3], headers={"If-Modified-Since": "yesterday", "Range": "bytes=9-1,-,a"}),
    http(path=PATHS[3], headers={"Range": "bytes=-99999999999999999999"}),
    http(headers={"X-Forwarded-For": "'\", %00,,," * 50, "X-Forwarded-Proto": "https,http"}),
    http(headers={"X-Request-ID": "a" * 9000}),
    http(method="POST", path=PATHS[2], headers={"Content-Length": "-1"}),
    http(method="POST", path=PATHS[2], headers={"Content-Length": "99999999999"}, body=b"a=b"),
    http(method="POST", path=PATHS[2], headers={"Content-Length": "ten"}, body=b"a=b"),
    http(
        method="POST",
        path=PATHS[2],
        headers={"Transfer-Encoding": "chunked"},
        body=b"ffffffffffffffffff\r\na",
    ),
    http(
        method="POST",
        path=PATHS[2],
        headers={"Transfer-Encoding": "gzip, chunked"},
        body=b"0\r\n\r\n",
    ),
    http(method="POST", path=PATHS[2], headers=FORM, body=b"a=b&" * 5000),
    http(method="POST", path=PATHS[2], headers=FORM, body=b"username=\xff%ff%00&%" * 10),
    http(method="POST", path=PATHS[2], headers=FORM, body=b"a=" + b"b" * 3_000_000),
    *(
        http(method="POST", path=PATHS[2], headers={"Content-Type": kind}, body=b"--x\r\n\0\xff")
        for kind in (
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=x",
            "application/x-www-form-urlencoded; charset=none",
            "application/json; charset=\xff",
        )
    ),
]


@pytest.mark.parametrize("number", range(len(MALFORMED)))
def test_malformed_or_oversized_request_causes_no_server_error(wire: Wire, number: int) -> None:
    wire.check(MALFORMED[number])


def _noise(chance: random.Random) -> Iterator[tuple[bytes, bool]]:
    """Yield random requests, mostly valid enough to be parsed, and whether each is whole."""

    def junk(most: int) -> bytes:
        return chance.randbytes(chance.randint(0, most))

    def word(most: int) -> str:
        return "".join(chance.choices(string.printable.strip(), k=chance.randint(1, most)))

    while True:
        headers: dict[str, str | bytes] = {}
        for name in chance.sample(
            ["Cookie", "Host", "Accept", "Accept-Language", "Referer", "Origin", "Range", "X-A"],
            chance.randint(0, 3),
        ):
            headers[name] = chance.choice([word(60), quote_from_bytes(junk(40)), word(900)])
        if chance.random() < 0.2:
            headers["Cookie"] = f"sessionid={word(40)}; csrftoken={word(32)}"
        path = chance.choice(PATHS)
        if chance.random() < 0.5:
            path = f"{path}{quote_from_bytes(junk(60))}?{quote_from_bytes(junk(60))}"
        method = chance.choice(["GET"] * 8 + ["HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
        body = junk(2000) if method in ("POST", "PUT", "PATCH") else b""
        request = http(method, path, headers, body)
        whole = chance.random() < 0.8
        if not whole:  # change, shorten or lengthen it
            place = chance.randrange(len(request))
            request = request[:place] + junk(8) + request[place + chance.randint(0, 4) :]
        yield request, whole


MEMORY = """
import glob
total = 0
for file in glob.glob("/proc/[0-9]*/smaps_rollup"):
    try:
        with open(file) as lines:
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    except OSError:
        pass
print(total)
"""


def test_random_requests_do_not_grow_memory(wire: Wire, web: Container) -> None:
    noise = _noise(random.Random(SEED))  # noqa: S311 - reproducible
    memory = []
    for _ in range(3):
        for _ in range(REQUESTS_PER_ROUND):
            request, whole = next(noise)
            wire.check(request, whole=whole)
        memory.append(int(web.python(MEMORY)))
    assert memory[2] < memory[1] * MAX_GROWTH, f"{memory} kB"


DISK = "import shutil; total, used, _ = shutil.disk_usage('/tmp'); print(total, used)"


def test_simultaneous_uploads_leave_half_of_tmp_free(wire: Wire, web: Container) -> None:
    size = 10_000_000
    headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
    before = int(web.python(DISK).split()[1])
    with contextlib.ExitStack() as connections:
        uploads = []
        for _ in range(20):
            uploads.append(connections.enter_context(socket.create_connection(wire.address, 30)))
            # The server closes the connection of a refused upload while the body is being sent.
            with contextlib.suppress(ConnectionError):
                uploads[-1].sendall(http("POST", "/none", headers) + b"0" * (size - 1))
        total, used = map(int, web.python(DISK).split())
        assert before + 20_000_000 < used <= total / 2
        assert web.browser().get("/").status == 200
    wait_for(lambda: int(web.python(DISK).split()[1]) <= before, 10)


def test_no_errors_logged_during_the_fuzzing(web: Container) -> None:
    """The container that received all requests above has not restarted or logged an error."""
    assert web.restarts() == 0
    assert web.browser().get("/readyz").status == 200
    log = web.logs()
    assert "Internal Server Error" not in log
    assert "Exception in ASGI application" not in log
