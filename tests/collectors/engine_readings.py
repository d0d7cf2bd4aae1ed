"""One deep look of one engine at each of some machines, as JSON; a process, because engines change theirs for good.

    python engine_readings.py ENGINE HOST...      ENGINE: auto, pyasic or pyasic_rs

Native code takes its proxy from the environment and pyasic configures the root logger; neither may happen in the
process of the tests. Prints {host: reading or {"fault": kind}}.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from collectors.catalogue import open_device
from collectors.miners.native import NativeMiner
from fleet.ports import PollError
from hil.replay import LOGIN

DEADLINE_S = 25.0
AT_ONCE = 6


async def readings(engine: str, hosts: list[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    turn = asyncio.Semaphore(AT_ONCE)

    async def look(host: str) -> None:
        async with turn:
            device: Any = open_device(engine, host, 4028, DEADLINE_S, {"user": LOGIN.user, "password": LOGIN.password})
            try:
                reading = await (device.read(is_deep=True) if isinstance(device, NativeMiner) else device.read())
                found[host] = dataclasses.asdict(reading)
            except PollError as error:
                found[host] = {"fault": error.kind.value}
            await device.aclose()

    await asyncio.gather(*map(look, hosts))
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(readings(sys.argv[1], sys.argv[2:]))))
