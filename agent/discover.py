"""The command `hashwatt discover`: which machines stand behind these addresses, ready for configuration and inventory.

Each silent address costs one connect, each host that answers one identification and one look. Results go to standard
output, progress and everything that a person should know about the result to standard error. Ctrl-C ends the scan, not
the command: what was found so far is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.discover_view import Show
    from agent.discovered import Row
    from agent.targets import Span
    from collectors.discovery import Endpoint, Found, Scan
    from collectors.miners.make import Credential

TICK_S = 0.5
SPARE_DESCRIPTORS = 64
LISTED = 5

FOUND, NOTHING = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("targets", metavar="CIDR", nargs="+", help="10.1.0.0/22, 10.1.0.7-90 or 10.1.0.7")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object, every host that answered under machines")
    form.add_argument("--toml", action="store_true", help="[[miners]] for the configuration")
    form.add_argument("--csv", action="store_true", help="an inventory: id, mac, serial, address, model")
    parser.add_argument("--insecure", action="store_true", help="permit addresses outside private address space")
    parser.add_argument("--connections", type=int, metavar="N", help="most connections at once (default 320)")
    parser.add_argument(
        "--credential", metavar="NAME", help="log in with [credentials.NAME] of the configuration to what asks for it"
    )


def run(args: argparse.Namespace) -> int:
    """Scan and print. Returns 0 where a machine was found, else 1. Errors: ConfigError for what the operator gave."""
    from collectors import discovery

    spans = _spans(args.targets, args.insecure)
    connections = _connections(discovery.CONNECTIONS if args.connections is None else args.connections)
    hunt = _Hunt(spans, connections, _credential(args))
    overflows = _overflows()
    is_complete = True
    try:
        asyncio.run(hunt.run())
    except KeyboardInterrupt:
        is_complete = False
        sys.stderr.write("interrupted: this is what was found so far\n")
    rows = hunt.rows()
    _print(rows, hunt, args, is_complete)
    for line in _remarks(rows, hunt, _overflows() - overflows):
        sys.stderr.write(f"{line}\n")
    return NOTHING if all(row.is_stranger for row in rows) else FOUND


class _Hunt:
    """One scan with all that it found, kept outside the loop so that an interrupt loses nothing."""

    def __init__(self, spans: Sequence[Span], connections: int, credential: Credential | None) -> None:
        from collectors.neighbours import Neighbours

        self.total = sum(map(len, spans))
        self.scan: Scan | None = None
        self._spans = spans
        self._connections = connections
        self._credential = credential
        self._found: list[Found] = []
        self._macs: dict[str, str] = {}
        self._looked_up = 0
        self._neighbours = Neighbours(max_age_s=TICK_S / 2)

    async def run(self) -> None:
        from agent.discover_view import progress
        from collectors.discovery import native_look, scan

        with progress(self.total) as show:
            async with scan(_endpoints(self._spans), native_look(self._credential), self._connections) as self.scan:
                clerk = asyncio.create_task(self._keep_books(self.scan, show))
                try:
                    async for found in self.scan:
                        self._found.append(found)
                finally:
                    clerk.cancel()
                self._look_up_macs()

    async def _keep_books(self, scan: Scan, show: Show) -> None:
        """The bar, and the MACs while the kernel still has them: it forgets a neighbour seconds after the last word."""
        while True:
            await asyncio.sleep(TICK_S)
            self._look_up_macs()
            words = f"{scan.answered:,} answered, {scan.identified:,} identified"
            show(asyncio.get_running_loop().time(), scan.scanned, words)

    def _look_up_macs(self) -> None:
        now_s = asyncio.get_running_loop().time()
        for found in self._found[self._looked_up :]:
            mac = self._neighbours.mac_of(found.endpoint.host, now_s)
            if mac is not None:
                self._macs[found.endpoint.host] = mac
        self._looked_up = len(self._found)

    def rows(self) -> list[Row]:
        from agent.discovered import rows_of

        return rows_of(self._found, self._macs)


def _spans(texts: Iterable[str], insecure: bool) -> list[Span]:
    from agent.config import ConfigError
    from agent.discovered import merged
    from agent.targets import TargetError, parse_target

    spans: list[Span] = []
    for text in texts:
        try:
            span = parse_target(text)
        except TargetError as error:
            raise ConfigError("discover", str(error)) from None
        if not (span.is_private or insecure):
            raise ConfigError("discover", f"{text!r} is outside private address space; --insecure permits it")
        spans.append(span)
    return merged(spans)


def _endpoints(spans: Iterable[Span]) -> Iterator[Endpoint]:
    from agent.targets import MINER_PORT
    from collectors.discovery import Endpoint

    for span in spans:
        port = span.port or MINER_PORT
        for host in span.hosts():
            yield Endpoint(host, port)


def _connections(wanted: int) -> int:
    """The bound, once the system gives as many descriptors. Errors: ConfigError where it does not."""
    from agent.config import ConfigError

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard - SPARE_DESCRIPTORS
    if not 2 <= wanted <= most:
        raise ConfigError("discover", f"--connections {wanted} is not between 2 and {most}")
    if wanted + SPARE_DESCRIPTORS > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted + SPARE_DESCRIPTORS, hard))
    return wanted


def _credential(args: argparse.Namespace) -> Credential | None:
    if args.credential is None:
        return None
    from agent.config import DEFAULT_PATH, ConfigError, load
    from collectors.miners.make import Credential

    known = load(args.config or DEFAULT_PATH).credentials
    if args.credential not in known:
        raise ConfigError("discover", f"there is no [credentials.{args.credential}]; known: {', '.join(known) or '-'}")
    chosen = known[args.credential]
    return Credential(chosen.user, chosen.password.reveal())


def _overflows() -> int:
    from collectors.neighbours import overflows

    return overflows()


# --- printing --------------------------------------------------------------------------------------------------------


def _print(rows: Sequence[Row], hunt: _Hunt, args: argparse.Namespace, is_complete: bool) -> None:
    from agent import discovered

    if args.json:
        import orjson

        sys.stdout.write(orjson.dumps(discovered.document(rows, hunt.scan, is_complete)).decode() + "\n")
    elif args.csv:
        sys.stdout.write(discovered.inventory_csv(rows))
    elif args.toml:
        sys.stdout.write(discovered.miners_toml(rows, args.credential))
    elif shown := [row for row in rows if not row.is_stranger]:
        from agent.discover_view import show_table

        show_table(shown)


def _remarks(rows: Sequence[Row], hunt: _Hunt, overflows: int) -> Iterator[str]:
    """What a person should know beside the result."""
    from agent.discovered import duplicates

    machines = sum(row.is_machine for row in rows)
    scanned = hunt.scan.scanned if hunt.scan else 0
    yield f"{scanned:,} of {hunt.total:,} addresses asked, {len(rows):,} answered, {machines:,} machines identified"
    for duplicate in duplicates(rows):
        where = _listed(duplicate.addresses)
        yield f"duplicate: {duplicate.what} {duplicate.identity} at {len(duplicate.addresses)} addresses: {where}"
    if provisional := [row.address for row in rows if row.is_machine and row.provisional]:
        yield f"{len(provisional)} ids are provisional, without MAC and serial: {_listed(provisional)}"
    if strangers := [row.address for row in rows if row.is_stranger]:
        yield f"{len(strangers)} hosts answered and are no machine that we know: {_listed(strangers)}"
    for reason, count in (hunt.scan.unasked if hunt.scan else {}).items():
        yield f"{count:,} addresses could not be asked: {reason}"
    if overflows > 0:
        yield (
            f"the kernel's neighbour table was full {overflows} times, machines may be missing: raise "
            "net.ipv4.neigh.default.gc_thresh3, or scan with fewer --connections"
        )


def _listed(addresses: Sequence[str]) -> str:
    more = f" and {len(addresses) - LISTED} more" if len(addresses) > LISTED else ""
    return ", ".join(addresses[:LISTED]) + more
