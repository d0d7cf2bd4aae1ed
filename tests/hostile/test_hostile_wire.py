"""On the wire no machine holds a look past its deadline, leaves a connection open, or ends it in any other way than its
case says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from honesty import SECRETS, assert_honest

from fleet.ports import PollError
from hostile.cases import found_fields, healthy, wanted_fields
from hostile.cases_wire import CASES
from hostile.wire import LATE_S, seen

BY_NAME = {case.name: case for case in CASES}
ROOT = Path(__file__).resolve().parent.parent.parent
MAX_GROWTH_BYTES = 4 * 1024 * 1024

GIVES_BACK = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""So that the allocator keeps nothing of what is freed, like the megabytes that hostile machines have sent."""


@pytest.mark.parametrize("name", BY_NAME)
async def test_a_hostile_machine_ends_a_look_as_its_case_says(name: str) -> None:
    case = BY_NAME[name]
    for _ in range(3):  # a busy computer may be late once; code that is late is late every time
        ended = await seen(case)
        if ended.late_s < LATE_S:
            break
    assert ended.late_s < LATE_S
    assert not ended.open_connections
    assert case.asks_at_most is None or len(ended.requests) <= case.asks_at_most
    for request in ended.requests:
        assert b"Authorization: Basic" not in request
        assert case.credential is None or request.startswith(b"POST ") or b"canary-password" not in request
    if isinstance(ended.outcome, PollError):
        assert ended.outcome.kind == case.expect.fault, f"{ended.outcome}"
        assert str(ended.outcome).isprintable()
        assert not any(secret in str(ended.outcome) for secret in SECRETS)
        return
    assert case.expect.fault is None, f"a reading in place of {case.expect.fault}"
    assert_honest(ended.outcome)
    assert found_fields(ended.outcome) == wanted_fields(case.expect)
    warnings = (healthy(case.expect.machine)[1] | set(case.expect.warnings)) - set(case.expect.without)
    assert set(ended.outcome.warnings) == warnings


def test_the_whole_corpus_leaves_memory_and_descriptors_as_they_were() -> None:
    """In a process of its own, again and again: what the first passes made stays, what came after them must not."""
    environment = os.environ | GIVES_BACK | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
    run = subprocess.run(
        [sys.executable, "-m", "hostile.footprint"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=True,
    )
    grown = json.loads(run.stdout)
    assert grown["bytes"] < MAX_GROWTH_BYTES
    assert grown["descriptors"] == 0
    assert grown["tasks"] == 0
