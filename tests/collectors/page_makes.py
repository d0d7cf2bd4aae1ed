"""Reading a make of pages from its recorded answers, changed as a test likes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collectors.miners import hearing
from collectors.miners.make import Make
from fleet.readings import MinerReading

CAPTURES = Path(__file__).resolve().parent.parent / "captures" / "miners"


def answers_of(folder: str) -> dict[str, Any]:
    """Every recorded answer of one set, decoded."""
    return {path.stem: json.loads(path.read_bytes()) for path in (CAPTURES / folder).glob("*.json")}


def reading_of(make: Make, answers: Mapping[str, Any], *, is_deep: bool = False) -> MinerReading:
    """What the make reads from these answers, by the way that a machine's bytes take."""
    raw = {name: json.dumps(answer).encode() for name, answer in answers.items()}
    return make.read(hearing.said_from(make, raw, is_deep=is_deep))
