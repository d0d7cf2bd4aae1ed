"""How ids, codes, instants and missing numbers are spelled outside: in labels, JSON and topics.

Every text that may come from a device passes through `clean` before it leaves; every column that may hold NaN passes
through `numbers`. Nothing here knows about a transport.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fleet.capital import Keep
from fleet.curtailment import Action, Why
from fleet.economics import Dispatch
from fleet.readings import FAULT_KINDS, PowerSource, Reason
from fleet.snapshot import ROW_KINDS, STATES, MeterDoubt, PduDoubt, Suspect

MAX_TEXT_BYTES = 128

ACTIONS: tuple[str, ...] = tuple(action.name.lower() for action in Action)
POWER_SOURCES: tuple[str | None, ...] = tuple(source.name.lower() if source else None for source in PowerSource)
FAULTS: tuple[str | None, ...] = tuple(kind.value if kind else None for kind in FAULT_KINDS)
REASONS: tuple[str | None, ...] = tuple(reason.name.lower() if reason else None for reason in Reason)
DISPATCHES: tuple[str | None, ...] = tuple(verdict.name.lower() if verdict else None for verdict in Dispatch)
KEEPS: tuple[str | None, ...] = tuple(verdict.name.lower() if verdict else None for verdict in Keep)
SUSPICIONS: tuple[str, ...] = tuple((bit.name or "").lower() for bit in Suspect)
METER_DOUBTS: tuple[str, ...] = tuple((bit.name or "").lower() for bit in MeterDoubt)
PDU_DOUBTS: tuple[str, ...] = tuple((bit.name or "").lower() for bit in PduDoubt)
KINDS: tuple[str, ...] = tuple(kind.value for kind in ROW_KINDS)
OPERATING_STATES: tuple[str, ...] = tuple(state.value for state in STATES)

_CONTROLS = dict.fromkeys(
    (
        *(*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029),
        *(0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),  # turn round what stands behind them
        *(0xFFFE, 0xFFFF),  # no characters, and no XML may hold them
    )
)
_NOT_IN_TOPIC = re.compile(r"[^A-Za-z0-9_-]")


def clean(text: str, limit: int = MAX_TEXT_BYTES) -> str:
    """`text` without control characters of any kind, line ends and lone surrogates, at most `limit` bytes of UTF-8."""
    return text.translate(_CONTROLS).encode("utf-8", "ignore")[:limit].decode("utf-8", "ignore")


@lru_cache(maxsize=4)
def unique_names(ids: tuple[str, ...]) -> tuple[str, ...]:
    """Cleaned ids, one per row and never twice the same: a name that is taken gets a digest of its own id behind it."""
    return _told_apart(ids, tuple(map(clean, ids)))


@lru_cache(maxsize=4)
def topic_segments(ids: tuple[str, ...]) -> tuple[str, ...]:
    """Ids as topic levels, characters outside [A-Za-z0-9_-] replaced by `-`, and never twice the same."""
    return _told_apart(ids, tuple(map(topic_segment, ids)))


def topic_segment(id: str) -> str:
    return _NOT_IN_TOPIC.sub("-", clean(id, 64)) or "-"


def colliding(ids: tuple[str, ...]) -> tuple[str, ...]:
    """The ids that share a topic level with another one; for a warning at start."""
    counts = Counter(map(topic_segment, ids))
    return tuple(id for id in ids if counts[topic_segment(id)] > 1)


def _told_apart(ids: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    counts = Counter(names)
    if len(counts) == len(names):
        return names
    taken = {name for name, count in counts.items() if count == 1}
    result: list[str] = []
    for id, name in zip(ids, names, strict=True):
        chosen = name
        if counts[name] > 1 and name in taken:
            digest = hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()[:8]
            chosen = f"{clean(name, MAX_TEXT_BYTES - 16)}-{digest}"  # short enough not to be cut off again
            while chosen in taken:
                chosen += "-"
        taken.add(chosen)
        result.append(chosen)
    return tuple(result)


@lru_cache(maxsize=16)
def suspicions(bits: int) -> tuple[str, ...]:
    """Words of the `Suspect` bits that are set."""
    return tuple(word for word, bit in zip(SUSPICIONS, Suspect, strict=True) if bits & bit)


@lru_cache(maxsize=256)
def meter_doubts(bits: int) -> tuple[str, ...]:
    """Words of the `MeterDoubt` bits that are set."""
    return tuple(word for word, bit in zip(METER_DOUBTS, MeterDoubt, strict=True) if bits & bit)


@lru_cache(maxsize=256)
def pdu_doubts(bits: int) -> tuple[str, ...]:
    """Words of the `PduDoubt` bits that are set."""
    return tuple(word for word, bit in zip(PDU_DOUBTS, PduDoubt, strict=True) if bits & bit)


@lru_cache(maxsize=4096)
def reasons(bits: int) -> tuple[str, ...]:
    """Names of the `Why` bits that are set, in the order of the list."""
    return tuple(why.name for why in Why if bits & why and why.name)


def number(value: float) -> float | None:
    """`value`, or None for what is not a number; JSON knows no NaN."""
    return float(value) if math.isfinite(value) else None


def numbers(column: npt.NDArray[np.float64]) -> list[float | None]:
    """A column as a list with None where it is NaN or infinite."""
    return [value if math.isfinite(value) else None for value in column.tolist()]


def truths(column: npt.NDArray[np.float64]) -> list[bool | None]:
    """A column of 1, 0 and NaN as True, False and None."""
    return [bool(value) if math.isfinite(value) else None for value in column.tolist()]


def names(codes: npt.NDArray[np.uint8], words: Sequence[str | None]) -> list[str | None]:
    """A column of codes as their words."""
    return [words[code] for code in codes.tolist()]


def instant(at_s: float) -> str | None:
    """Unix time as RFC 3339 in UTC with milliseconds, or None."""
    if not math.isfinite(at_s):
        return None
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
