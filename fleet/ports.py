"""The doors between the rooms: what a collector or a sink must offer, and the few errors that may come through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fleet.readings import Fault, FaultKind

if TYPE_CHECKING:
    from fleet.cycle import Cycle
    from fleet.market import Quote
    from fleet.readings import MinerReading, PduReading
    from fleet.series import Series


class PollError(Exception):
    """One look failed; `kind` says how. Collectors raise nothing else for what a device or feed does.

    `wait_s`: how long it asked to be left alone, 0 = it did not; the schedule's business, as collectors never wait.
    """

    def __init__(self, kind: FaultKind, detail: str = "", *, wait_s: float = 0.0) -> None:
        super().__init__(kind.value if not detail else f"{kind.value}: {detail}")
        self.kind = kind
        self.detail = detail
        self.wait_s = wait_s

    def as_fault(self) -> Fault:
        return Fault(self.kind, self.detail, self.wait_s)


class Miner(Protocol):
    """One machine at one address; `read` is one look within the caller's deadline."""

    async def read(self) -> MinerReading: ...

    async def aclose(self) -> None: ...


class Pdu(Protocol):
    async def read(self) -> PduReading: ...

    async def aclose(self) -> None: ...


class Feed(Protocol):
    """One source of market numbers; each answer is a set of quotes with their as-of times."""

    async def read(self) -> tuple[Quote, ...]: ...

    async def aclose(self) -> None: ...


class SeriesFeed(Protocol):
    """One source of a series: power prices, rates of exchange. Each answer is the whole of what it knows."""

    async def read(self) -> Series: ...

    async def aclose(self) -> None: ...


class Sink(Protocol):
    """Takes each frozen cycle; must not keep or change it."""

    def publish(self, cycle: Cycle) -> None: ...
