"""The client's IP address, behind the proxies that the deployment trusts."""

import ipaddress


def client_ip(peer: str, forwarded_for: bytes, trusted_proxies: int) -> str:
    """Return the address of the client in front of the proxies that we trust.

    Each proxy appends the address it was asked from, so the last ``trusted_proxies`` entries of
    X-Forwarded-For are true and the first of those is the client; what stands further left is the
    client's own claim. ``peer`` is who is connected to us.
    """
    if trusted_proxies == 0:
        return peer
    hops = [hop.strip() for hop in forwarded_for.decode("latin-1").split(",") if hop.strip()]
    candidate = hops[-trusted_proxies] if len(hops) >= trusted_proxies else peer
    try:
        return str(ipaddress.ip_address(candidate))
    except ValueError:
        return peer
