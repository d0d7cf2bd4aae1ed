"""What the wire corpus leaves behind in a process: `python -m hostile.footprint` prints the growth as JSON."""

from __future__ import annotations

import asyncio
import gc
import json
import resource
from pathlib import Path

from hostile.cases_wire import CASES
from hostile.wire import seen

AT_ONCE = 24
WARM_UP = 1  # pass until imports, caches and the allocator's pools are what they will stay
PASSES = 2


async def _pass() -> None:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with gate:
            await seen(CASES[number])

    await asyncio.gather(*map(one, range(len(CASES))))


def _resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def _main() -> dict[str, int]:
    for _ in range(WARM_UP):
        await _pass()
    await asyncio.sleep(0.2)
    before = _resident_bytes(), _descriptors(), len(asyncio.all_tasks())
    for _ in range(PASSES):
        await _pass()
    await asyncio.sleep(0.2)
    after = _resident_bytes(), _descriptors(), len(asyncio.all_tasks())
    names = ("bytes", "descriptors", "tasks")
    return {name: now - then for name, then, now in zip(names, before, after, strict=True)}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_main())))
