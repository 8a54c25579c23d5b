"""The ecs container under requests that no browser sends: never a 500, a trace or a leak.

Raw sockets, since every client library would mend or refuse most of these. The random part is
seeded, so that a failure comes back; both parts together are about 1,500 requests.
"""

from __future__ import annotations

import contextlib
import random
import socket
import string
from collections.abc import Iterator, Mapping
from urllib.parse import quote_from_bytes, urlencode, urlsplit

import pytest

from scripts.stack.engine import Container

SEED = 20261123
ROUND = 400  # random requests; run three times, the first two to warm both workers up
GROWTH = 1.1  # of the processes' memory, in the last round
PATIENCE = 3.0  # seconds for an answer

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
    f"/static/{way}{target}"
    for way in (
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
# Of what a file outside static/ would show.
LEAKS = (b"root:x:0:0", b"INSTALLED_APPS", b"SECRET_KEY=", b"DATABASE_URL=")


class Wire:
    """The container's port, spoken to byte by byte."""

    def __init__(self, container: Container) -> None:
        """Speak to the container's published port."""
        address = urlsplit(container.url)
        self.address = (str(address.hostname), int(address.port or 0))

    def send(self, request: bytes, whole: bool) -> bytes:
        """Send bytes and return what is answered until the end, or nothing."""
        answer = b""
        # Refused in the middle, as it may be.
        refused = contextlib.suppress(ConnectionError, TimeoutError)
        with socket.create_connection(self.address, timeout=PATIENCE) as wire, refused:
            wire.sendall(request)
            if not whole:
                wire.shutdown(socket.SHUT_WR)
            while len(answer) < 200_000 and (part := wire.recv(65_536)):
                answer += part
        return answer

    def judge(self, request: bytes, *, whole: bool = True) -> bytes:
        """Send, and fail on a 500, a trace or the content of a file.

        Unless the request is ``whole`` the end of it is said by closing: the server must not wait.
        """
        answer = self.send(request, whole)
        shown = f"{request[:600]!r} was answered {answer[:600]!r}"
        assert not answer.startswith((b"HTTP/1.1 500", b"HTTP/1.0 500")), shown
        assert b"Traceback" not in answer, shown
        assert not any(leak in answer for leak in LEAKS), shown
        return answer


def http(
    method: str = "GET",
    path: str | bytes = "/",
    headers: Mapping[str, str | bytes] | Mapping[str, str] | None = None,
    body: bytes = b"",
) -> bytes:
    """Return a request; what is given is sent as it is."""
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
    """The shared stack's web container."""
    return Wire(web)


@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_path_leads_out_of_the_static_files(wire: Wire, path: str) -> None:
    answer = wire.judge(http(path=path))
    assert not answer.startswith(b"HTTP/1.1 200")


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
def test_odd_login_forms(wire: Wire, web: Container, field: str, value: str) -> None:
    browser = web.browser()
    browser.get("/admin/login/")
    token = browser.cookies["csrftoken"]
    form = {"username": "a@example.com", "password": "b", "csrfmiddlewaretoken": token}
    body = urlencode(form | {field: value}, errors="surrogateescape").encode()
    cookie = {"Cookie": f"csrftoken={token}"}
    answer = wire.judge(http("POST", "/admin/login/", FORM | cookie, body))
    assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 403", b"HTTP/1.1 400"))


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


def test_odd_questions_of_somebody_signed_in(wire: Wire, web: Container) -> None:
    browser = web.browser()
    password = web.stack.canaries["DJANGO_SUPERUSER_PASSWORD"]
    web.stack.ensure_superuser()
    assert browser.login("admin@example.com", password).status == 302
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    for query in QUERIES:
        answer = wire.judge(http(path="/admin/accounts/user/" + query, headers={"Cookie": cookie}))
        assert answer.startswith(b"HTTP/1.1 "), query


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
def test_odd_cookies(wire: Wire, name: str, value: str) -> None:
    for path in ("/", "/admin/", "/admin/login/"):
        assert wire.judge(http(path=path, headers={"Cookie": f"{name}={value}"}))


MALFORMED = [
    b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"get / http/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,  # TLS spoken to plain HTTP
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
def test_malformed_and_oversized(wire: Wire, number: int) -> None:
    wire.judge(MALFORMED[number])


def _noise(chance: random.Random) -> Iterator[tuple[bytes, bool]]:
    """Random requests, and whether they are whole: mostly close enough to HTTP to get in."""

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
        if not whole:  # flip, cut or stretch it
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


def test_random_requests_and_memory(wire: Wire, web: Container) -> None:
    noise = _noise(random.Random(SEED))  # noqa: S311 - to be repeatable
    memory = []
    for _ in range(3):
        for _ in range(ROUND):
            request, whole = next(noise)
            wire.judge(request, whole=whole)
        memory.append(int(web.python(MEMORY)))
    assert memory[2] < memory[1] * GROWTH, f"{memory} kB"


def test_nothing_broke_inside(web: Container) -> None:
    """After all of the above: the same processes, and no error of ours in the log."""
    assert web.restarts() == 0
    assert web.browser().get("/readyz").status == 200
    log = web.logs()
    assert "Internal Server Error" not in log
    assert "Exception in ASGI application" not in log
