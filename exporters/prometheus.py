"""The metrics page, written column by column: text format 0.0.4, one family at a time, one block per column.

numpy holds the numbers and orjson prints a whole column as one array; split at its commas and interleaved with the
label sets that `labels.py` keeps, it becomes the block with one join. So 2.5 million series cost seconds of nobody's
time, and only one column exists as text at any moment. Compression and sockets belong to the caller.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import compress

import numpy as np
import orjson

from exporters.columns import Column, View
from exporters.metrics import TABLE, Family
from fleet.capital import Appraisal
from fleet.cycle import Cycle

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(
    cycle: Cycle,
    *,
    now_s: float,
    lease_valid_until_s: float = math.nan,
    extra: Iterable[Family] = (),
    appraisal: Appraisal | None = None,
) -> Iterator[bytes]:
    """Blocks of the page. `now_s` decides whether the lease, and with it the advice, still stands."""
    view = View(cycle, now_s, lease_valid_until_s, appraisal)
    for row in TABLE:
        if row.columns:
            yield from render_family(Family(row, row.columns(view)))
    for ready in extra:
        yield from render_family(ready)


def render_family(family: Family) -> Iterator[bytes]:
    """HELP, TYPE and the blocks of one family; nothing at all when no value is left to print."""
    row = family.metric
    head = f"# HELP {row.name} {row.help}\n# TYPE {row.name} {row.kind}\n".encode()
    for column in family.columns:
        if block := _block(row.name, column):
            yield head + block
            head = b""


def _block(name: str, column: Column) -> bytes:
    is_printed = np.isfinite(column.values)  # orjson would write null for the others
    count = int(np.count_nonzero(is_printed))
    if not count:
        return b""
    values, openings, closings = column.values, column.openings, column.closings
    if count < len(values):
        chosen = is_printed.tolist()
        values, openings = values[is_printed], list(compress(openings, chosen))
        closings = closings if isinstance(closings, bytes) else list(compress(closings, chosen))
    start = name.encode() + column.suffix.encode()
    pieces: list[bytes] = [b"\n" + start] * (4 * count)
    pieces[0] = start
    pieces[1::4] = openings
    pieces[2::4] = [closings] * count if isinstance(closings, bytes) else closings
    text = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
    pieces[3::4] = text[1:-1].split(b",")
    pieces.append(b"\n")
    return b"".join(pieces)
