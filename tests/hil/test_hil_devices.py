"""The pages about devices are true: one is written from the code, the example of the other works as it stands there."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from collectors.miners import hearing
from collectors.miners.make import Make
from fleet.ports import PollError
from fleet.readings import MinerReading
from hil import devices

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
HOW_TO = (DOCS / "adding-a-device.md").read_text("utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", HOW_TO, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_page_of_machines_is_current() -> None:
    assert (DOCS / "devices.md").read_text("utf-8") == devices.markdown(), (
        "write it anew: python -m hil.devices > docs/devices.md"
    )


def test_the_example_of_a_new_make_reads_what_the_page_says() -> None:
    scope: dict[str, Any] = {}
    exec(compile(block("python"), "adding-a-device.md", "exec"), scope)
    make = scope["MAKE"]
    assert isinstance(make, Make)
    reply = json.dumps(json.loads(block("json"))).encode()
    reading = make.read(hearing.said_from(make, {"summary": reply}, is_deep=True))
    wanted = tomllib.loads(block("toml"))
    assert [[t.sensor, t.index, t.celsius] for t in reading.temperatures] == wanted.pop("temperatures")
    assert {name: getattr(reading, name) for name in wanted} == wanted
    unlisted = [f for f in fields(MinerReading) if f.name not in {*wanted, "driver", "temperatures"}]
    assert {f.name for f in unlisted if getattr(reading, f.name) != f.default} == set()


def test_the_example_keeps_the_promise_that_the_page_makes_of_errors() -> None:
    scope: dict[str, Any] = {}
    exec(compile(block("python"), "adding-a-device.md", "exec"), scope)
    for said in ({}, {"summary": b'{"STATUS":[{"STATUS":"E","Msg":"no"}]}'}, {"summary": b'{"SUMMARY":[[]]}'}):
        with pytest.raises(PollError):
            scope["MAKE"].read(hearing.said_from(scope["MAKE"], said))
