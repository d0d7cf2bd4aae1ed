"""Writes `docs/devices.md`: which machines we read ourselves, what each tells, and what stands behind that claim.

Nothing on the page is typed by hand: makes come from the registry, their questions from their modules, and their fields
from reading the recorded machines. `python -m hil.devices > docs/devices.md` writes it anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from collectors.captures import Capture, identified, load, read_capture
from collectors.miners.make import Ask, Make, Via
from collectors.miners.makes import KEYS, make_of
from fleet.readings import MinerReading

ROOT = Path(__file__).resolve().parent.parent
RECORDED = ROOT / "tests" / "captures" / "miners"

Evidence = Mapping[str, list[Capture]]
"""Recorded machines by the key of their make."""

_IDENTITY = {"model": "model", "firmware": "firmware", "mac": "MAC", "serial": "serial", "hostname": "host name"}
_POWER = {"power_limit_w": "limit", "dc_power_w": "DC", "mode": "mode", "presets": "presets"}
_WORK = {
    "uptime_s": "uptime",
    "shares_accepted": "accepted",
    "shares_rejected": "rejected",
    "shares_stale": "stale",
    "difficulty_accepted": "difficulty",
    "pool_host": "pool",
    "errors": "errors",
}
_BOARD = {
    "hashrate_hs": "hashrate",
    "hashrate_expected_hs": "expected",
    "chips": "chips",
    "frequency_hz": "frequency",
    "voltage_v": "voltage",
    "hardware_errors": "hardware errors",
    "serial": "serial",
}

_HEAD = """\
# Machines

Written by `python -m hil.devices` from the drivers and the recorded machines in `tests/captures/miners`; do not edit.

A machine is recognised by what it answers, whatever its address. What it does not say stays empty: no number here is
ever guessed by a driver. Every other make is read through a library, with what the library gives.
[Adding a device](adding-a-device.md) shows how a machine gets onto this page.

## Read by our own drivers

The kind is what `driver` in `[[miners]]` takes; with `auto` nobody needs it. Login: how it is given where `[[miners]]`
names a `credential`, and whether the machine can be read without.
"""

_FIELDS = """\

## What they tell

As the recorded machines tell it; another firmware of the same make may say more or less. Behind the hashrate stand the
names under which machines give the number that money is counted on, with its averaging window. Behind the watts stands
what they are: `ac` at the wall, `dc` behind the power supply, `model` an estimate of the firmware. Presets are points
of hashrate and watts that a firmware offers; its list is read every few hours.
"""

_EVIDENCE = """\

## What stands behind it

Each folder holds the answers of one machine and `expected.toml`, what a person found in them; a test reads every folder
and compares. A make without a folder rests on documents and on what others wrote about it: it is read, but nobody has
shown us a real answer. `hashwatt capture HOST -o DIR` makes such a folder, without secrets.
"""


def markdown() -> str:
    """The whole page."""
    evidence = recorded(RECORDED)
    lines = [_HEAD, "| kind | make | asked over | login | recorded |", "|---|---|---|---|---|"]
    lines += [_row(_summary(make_of(key), evidence.get(key, []))) for key in KEYS]
    lines += [
        _FIELDS,
        "| kind | identity | hashrate | power | heat and air | work | boards |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_row(_told(key, evidence[key])) for key in KEYS if key in evidence]
    lines += [_EVIDENCE]
    for key in KEYS:
        lines += _evidence(make_of(key), evidence.get(key, []))
    return "\n".join(lines) + "\n"


def recorded(home: Path) -> Evidence:
    """The recorded machines below a folder, by the key of the make that is recognised in them."""
    found: dict[str, list[Capture]] = {}
    for folder in sorted(path for path in home.iterdir() if path.is_dir()):
        capture = load(folder)
        found.setdefault(identified(capture) or "unknown", []).append(capture)
    return found


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell or "–" for cell in cells) + " |"


def _summary(make: Make, captures: list[Capture]) -> Iterator[str]:
    yield f"`{make.key}`"
    yield make.name
    yield ", ".join(dict.fromkeys(_door(ask) for ask in make.asks))
    yield _login(make)
    yield str(len(captures)) if captures else "none"


def _door(ask: Ask) -> str:
    match ask.via:
        case Via.RPC:
            return f"TCP {ask.port}"
        case Via.FRAMED:
            return f"TCP {ask.port}, framed"
        case Via.HTTP:
            return f"HTTP {ask.port}"


def _login(make: Make) -> str:
    """What a login is good for: nothing, everything, or a few pages."""
    if make.login is None and not any(ask.needs_login for ask in make.asks):
        return ""
    kind = "digest" if make.login is None else "token"
    return f"{kind}, needed" if all(ask.needs_login for ask in make.asks) else f"{kind}, adds pages"


def _told(key: str, captures: list[Capture]) -> Iterator[str]:
    readings = [read_capture(capture) for capture in captures]
    yield f"`{key}`"
    yield _listed(_there(readings, _IDENTITY))
    yield _listed(
        [*_rates(readings), *_there(readings, {"hashrate_now_hs": "now", "hashrate_expected_hs": "expected"})]
    )
    yield _listed([*_watts(readings), *_there(readings, _POWER)])
    sensors = dict.fromkeys(t.sensor.value for reading in readings for t in reading.temperatures)
    yield _listed([*sensors, *_there(readings, {"fans_rpm": "fans"})])
    yield _listed(_there(readings, _WORK))
    boards = [board for reading in readings for board in reading.boards]
    yield _listed(word for name, word in _BOARD.items() if any(getattr(board, name) is not None for board in boards))


def _there(readings: list[MinerReading], words: Mapping[str, str]) -> list[str]:
    return [word for name, word in words.items() if any(getattr(r, name) not in (None, ()) for r in readings)]


def _rates(readings: list[MinerReading]) -> list[str]:
    return list(
        dict.fromkeys(
            f"`{r.hashrate_key}` ({'unknown' if r.hashrate_window_s is None else f'{r.hashrate_window_s:g} s'})"
            for r in readings
            if r.hashrate_key is not None
        )
    )


def _watts(readings: list[MinerReading]) -> list[str]:
    return list(dict.fromkeys(f"{r.power_side} `{r.power_key}`" for r in readings if r.power_key is not None))


def _evidence(make: Make, captures: list[Capture]) -> Iterator[str]:
    yield f"### {make.name} (`{make.key}`)\n"
    for capture in captures:
        about = capture.about
        where = f"`{capture.folder.name}`"
        count = len(capture.replies)
        origin = about.get("source", "").removeprefix("https://")
        parts = [
            about.get("model", ""),
            about.get("firmware", ""),
            f"{count} {'reply' if count == 1 else 'replies'}",
            origin,
        ]
        yield f"- {where}: {', '.join(part for part in parts if part)}. {about.get('note', '')}".rstrip()
    if not captures:
        yield "- no recorded machine"
    yield ""


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)


if __name__ == "__main__":
    sys.stdout.write(markdown())
