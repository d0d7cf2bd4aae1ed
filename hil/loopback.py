"""The only place where the virtual farm binds sockets, so that nothing of it can ever be heard outside 127/8."""

from __future__ import annotations

import ipaddress
import os
import resource
import socket


def require_loopback(host: str) -> str:
    """`host` itself. Errors: ValueError for anything but a literal address inside 127/8."""
    if not ipaddress.IPv4Address(host).is_loopback:
        raise ValueError(f"the virtual farm listens on 127/8 only, not on {host}")
    return host


def tcp_listener(host: str, port: int, backlog: int = 128) -> socket.socket:
    """A listening, non-blocking socket; port 0 picks a free one."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((require_loopback(host), port))
        sock.listen(backlog)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def udp_socket(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.bind((require_loopback(host), port))
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def silent_listener(host: str, port: int) -> socket.socket:
    """A port that answers no SYN: its backlog is full, and the kernel drops what does not fit. Closing it ends that.

    Linux queues one connection more than the backlog says. Ours stays in the queue after we have closed it, because
    nobody accepts, so a silent machine costs one descriptor like any other.
    """
    listener = tcp_listener(host, port, backlog=0)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as filler:
        filler.settimeout(1.0)
        filler.connect((host, listener.getsockname()[1]))
    return listener


def free_tcp_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on now; take it soon."""
    with tcp_listener(host, 0) as sock:
        return int(sock.getsockname()[1])


def raise_descriptor_limit() -> int:
    """As many descriptors as the system allows; each machine needs one. Returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def addresses(base: str, count: int) -> list[str]:
    """`count` addresses from `base` upwards, without those that end in .0 or .255.

    Errors: ValueError when they would leave 127/8.
    """
    found: list[str] = []
    value = int(ipaddress.IPv4Address(require_loopback(base)))
    while len(found) < count:
        if value & 0xFF not in (0, 255):
            found.append(require_loopback(str(ipaddress.IPv4Address(value))))
        value += 1
    return found


def free_block(preferred: int | None = None) -> int:
    """A second octet whose 127.x/16 nobody seems to use, so that farms of several processes stay apart.

    `preferred` comes first. Processes start their search at different places; two that still meet get an error, never
    each other's farm. Errors: OSError where all are taken.
    """
    others = (64 + (os.getpid() + k) % 180 for k in range(180))
    for block in (preferred, *others) if preferred is not None else others:
        try:
            tcp_listener(f"127.{block}.0.1", 4028).close()
            udp_socket(f"127.{block}.250.1", 1161).close()
        except OSError:
            continue
        return block
    raise OSError("no free block of loopback addresses")
