"""The command `hashwatt discover`: which machines stand behind these addresses, ready for configuration and inventory.

Each silent address costs one connect, each host that answers one identification and one look. Results go to standard
output, progress and everything that a person should know about the result to standard error. Ctrl-C ends the scan, not
the command: what was found so far is printed.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import Iterable, Iterator, Sequence

import orjson

from agent.config import Config, ConfigError
from agent.discover_view import Show, progress, show_table
from agent.discovered import Row, document, duplicates, inventory_csv, merged, miners_toml, rows_of
from agent.targets import MINER_PORT, Span, TargetError, parse_target
from collectors import discovery
from collectors.discovery import Endpoint, Found, Scan
from collectors.miners.make import Credential
from collectors.neighbours import Neighbours, overflows

TICK_S = 0.5
SPARE_DESCRIPTORS = 64
LISTED = 5

FOUND, NOTHING = 0, 1


def run(
    targets: Iterable[str],
    form: str,
    insecure: bool = False,
    connections: int | None = None,
    config: Config | None = None,
    credential: str | None = None,
) -> int:
    """Scan and print as `form`: "table", "json", "toml" or "csv". Returns 0 where a machine was found, else 1.

    `credential` names one of `config`. Errors: ConfigError for what the operator gave.
    """
    spans = _spans(targets, insecure)
    bound = _bound(discovery.CONNECTIONS if connections is None else connections)
    hunt = _Hunt(spans, bound, _login(config, credential))
    overflows_before = overflows()
    is_complete = True
    try:
        asyncio.run(hunt.run())
    except KeyboardInterrupt:
        is_complete = False
        sys.stderr.write("interrupted: this is what was found so far\n")
    rows = hunt.rows()
    _print(rows, form, hunt.scan, is_complete, credential)
    for line in _remarks(rows, hunt, overflows() - overflows_before):
        sys.stderr.write(f"{line}\n")
    return NOTHING if all(row.is_stranger for row in rows) else FOUND


class _Hunt:
    """One scan with all that it found, kept outside the loop so that an interrupt loses nothing."""

    def __init__(self, spans: Sequence[Span], connections: int, login: Credential | None) -> None:
        self.total = sum(map(len, spans))
        self.scan: Scan | None = None
        self._spans = spans
        self._connections = connections
        self._login = login
        self._found: list[Found] = []
        self._macs: dict[str, str] = {}
        self._looked_up = 0
        self._neighbours = Neighbours(max_age_s=TICK_S / 2)

    async def run(self) -> None:
        with progress(self.total) as show:
            async with discovery.scan(
                _endpoints(self._spans), discovery.native_look(self._login), self._connections
            ) as self.scan:
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
        return rows_of(self._found, self._macs)


def _spans(texts: Iterable[str], insecure: bool) -> list[Span]:
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
    for span in spans:
        port = span.port or MINER_PORT
        for host in span.hosts():
            yield Endpoint(host, port)


def _bound(wanted: int) -> int:
    """The bound, once the system gives as many descriptors. Errors: ConfigError where it does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard - SPARE_DESCRIPTORS
    if not 2 <= wanted <= most:
        raise ConfigError("discover", f"--connections {wanted} is not between 2 and {most}")
    if wanted + SPARE_DESCRIPTORS > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted + SPARE_DESCRIPTORS, hard))
    return wanted


def _login(config: Config | None, name: str | None) -> Credential | None:
    if name is None:
        return None
    known = config.credentials if config is not None else {}
    if name not in known:
        raise ConfigError("discover", f"there is no [credentials.{name}]; known: {', '.join(known) or 'none'}")
    return Credential(known[name].user, known[name].password.reveal())


# --- printing --------------------------------------------------------------------------------------------------------


def _print(rows: Sequence[Row], form: str, scan: Scan | None, is_complete: bool, credential: str | None) -> None:
    match form:
        case "json":
            sys.stdout.write(orjson.dumps(document(rows, scan, is_complete)).decode() + "\n")
        case "csv":
            sys.stdout.write(inventory_csv(rows))
        case "toml":
            sys.stdout.write(miners_toml(rows, credential))
        case _:
            if machines := [row for row in rows if not row.is_stranger]:
                show_table(machines)


def _remarks(rows: Sequence[Row], hunt: _Hunt, lost: int) -> Iterator[str]:
    """What a person should know beside the result."""
    machines = sum(row.is_machine for row in rows)
    scanned, answered = (hunt.scan.scanned, hunt.scan.answered) if hunt.scan else (0, 0)
    yield f"{scanned:,} of {hunt.total:,} addresses asked, {answered:,} answered, {machines:,} machines identified"
    for duplicate in duplicates(rows):
        where = _listed(duplicate.addresses)
        yield f"duplicate: {duplicate.what} {duplicate.identity} at {len(duplicate.addresses)} addresses: {where}"
    if provisional := [row.address for row in rows if row.is_machine and row.provisional]:
        yield f"{len(provisional):,} without MAC and serial, their ids are provisional: {_listed(provisional)}"
    if strangers := [row.address for row in rows if row.is_stranger]:
        yield f"{len(strangers):,} refused every question, no machine that we know: {_listed(strangers)}"
    for reason, count in (hunt.scan.unasked if hunt.scan else {}).items():
        yield f"{count:,} addresses could not be asked: {reason}"
    if lost > 0:
        yield (
            f"the kernel's neighbour table was full {lost:,} times, machines may be missing: raise "
            "net.ipv4.neigh.default.gc_thresh3, or scan with fewer --connections"
        )


def _listed(addresses: Sequence[str]) -> str:
    more = f" and {len(addresses) - LISTED} more" if len(addresses) > LISTED else ""
    return ", ".join(addresses[:LISTED]) + more
