"""The client's IP address, behind the proxies that the deployment trusts."""

import ipaddress
import re

# A load balancer may append the client's port (ALB's "preserve client port"); IPv6 then stands in
# brackets.
_WITH_PORT = re.compile(r"\[(?P<ipv6>[^\]]*)\](:\d+)?|(?P<ipv4>[^:]*):\d+")


def client_ip(peer: str, forwarded_for: bytes, trusted_proxies: int) -> str:
    """Return the address of the client in front of the trusted proxies.

    Each proxy appends the address that connected to it. So the last ``trusted_proxies`` entries of
    X-Forwarded-For are reliable, and the first of those is the client. Clients can forge the
    entries further left. ``peer`` is the address that is connected to this server.
    """
    if trusted_proxies == 0:
        return peer
    hops = [hop.strip() for hop in forwarded_for.decode("latin-1").split(",") if hop.strip()]
    candidate = hops[-trusted_proxies] if len(hops) >= trusted_proxies else peer
    if match := _WITH_PORT.fullmatch(candidate):
        candidate = match["ipv6"] or match["ipv4"] or ""
    try:
        return str(ipaddress.ip_address(candidate))
    except ValueError:
        return peer
