"""What every reading promises, whatever the bytes were that it came from; shared by corpus, fuzzing and captures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache

from agent.wire import Outcome, outcome_frames
from fleet.readings import MinerReading

MAX_TEXT_CHARS = 256
SECRETS = ("hunter2", "canary-password", "canary-worker", "canary-token")
"""Planted as passwords, accounts and tokens wherever a reply has room for them."""


def assert_honest(reading: MinerReading, keeps_secrets: bool = True) -> None:
    """Raise AssertionError where a reading breaks a promise.

    `keeps_secrets` False: the bytes were shuffled, so a password may have become the name of a board.
    """
    for name, value in _leaves(reading):
        if isinstance(value, float):
            assert math.isfinite(value), f"{name} is {value}"
        if isinstance(value, str):
            assert value.isprintable(), f"{name} holds {value!r}"
            assert len(value) <= MAX_TEXT_CHARS, f"{name} is {len(value)} long"
            assert value or name == "id", f"{name} is empty: unknown is None"
            assert not (keeps_secrets and any(secret in value for secret in SECRETS)), f"{name} tells a secret"
    for name in (
        "hashrate_hs", "hashrate_now_hs", "uptime_s", "shares_accepted", "shares_rejected", "shares_stale",
        "difficulty_accepted", "difficulty_rejected", "hashrate_window_s",
    ):  # fmt: skip
        value = getattr(reading, name)
        assert value is None or value >= 0.0, f"{name} is {value}"
    for name in ("hashrate_expected_hs", "reported_power_w", "power_limit_w"):
        value = getattr(reading, name)
        assert value is None or value > 0.0, f"{name} is {value}: unknown is not zero"
    assert reading.dc_power_w is None or reading.dc_power_w >= 0.0  # boards that are off draw nothing, measured
    assert reading.hashrate_hs is None or reading.hashrate_key, "a hashrate without its source"
    assert reading.reported_power_w is None or (reading.power_key and reading.power_side in ("ac", "dc", "model"))
    if reading.hashrate_window_s is not None and reading.uptime_s is not None:
        assert reading.hashrate_window_s <= reading.uptime_s, "a window longer than the uptime"
    for temperature in reading.temperatures:
        assert -40.0 <= temperature.celsius <= 150.0
        assert temperature.celsius != 0.0
        assert temperature.index >= 0
    assert all(rpm is None or rpm >= 0.0 for rpm in reading.fans_rpm)
    assert reading.mac is None or (len(reading.mac) == 12 and set(reading.mac) <= set("0123456789abcdef"))
    frames = list(outcome_frames((Outcome("k", "auto", 0.0, 0.0, 0.0, reading=reading),)))
    assert len(frames) == 1, "does not fit the pipe"
    assert b"does not fit the wire" not in frames[0]


def _leaves(value: object, name: str = "reading") -> Iterator[tuple[str, object]]:
    if isinstance(value, tuple):
        for item in value:
            yield from _leaves(item, f"{name}[]")
    elif (names := _names(type(value))) is not None:
        for part in names:
            yield from _leaves(getattr(value, part), part)
    else:
        yield name, value


@cache
def _names(kind: type) -> tuple[str, ...] | None:
    return tuple(f.name for f in fields(kind)) if is_dataclass(kind) else None
