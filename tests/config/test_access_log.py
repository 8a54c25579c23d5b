"""Who the log says has asked: never a name that the client chose for itself."""

from __future__ import annotations

import pytest

from config.access_log import client_address

PEER = "10.0.0.1"


@pytest.mark.parametrize(
    ("forwarded_for", "trusted", "client"),
    [
        (b"203.0.113.9", 0, PEER),
        (b"203.0.113.9", 1, "203.0.113.9"),
        (b"1.1.1.1, 203.0.113.9", 1, "203.0.113.9"),
        (b"1.1.1.1, 203.0.113.9, 10.0.0.2", 2, "203.0.113.9"),
        (b"2001:db8::1", 1, "2001:db8::1"),
        # Fewer entries than proxies, none, or no address: whoever is connected.
        (b"1.1.1.1", 2, PEER),
        (b"", 1, PEER),
        (b" , ,", 1, PEER),
        (b"evil\nlevel=error", 1, PEER),
        (b"203.0.113.9:4711", 1, PEER),
    ],
)
def test_client(forwarded_for: bytes, trusted: int, client: str) -> None:
    assert client_address(PEER, forwarded_for, trusted) == client
