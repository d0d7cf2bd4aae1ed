"""Reading a make from its recorded answers, changed as a test likes, and recognising one by what it answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collectors.miners import hearing
from collectors.miners.identify import Identified, steps
from collectors.miners.make import Ask, Make
from fleet.ports import PollError
from fleet.readings import FaultKind, MinerReading

CAPTURES = Path(__file__).resolve().parent.parent / "captures" / "miners"


def answers_of(folder: str) -> dict[str, Any]:
    """Every recorded answer of one set, decoded."""
    return {path.stem: json.loads(path.read_bytes()) for path in (CAPTURES / folder).glob("*.json")}


def reading_of(make: Make, answers: Mapping[str, Any], *, is_deep: bool = False) -> MinerReading:
    """What the make reads from these answers, by the way that a machine's bytes take."""
    raw = {name: json.dumps(answer).encode() for name, answer in answers.items()}
    return make.read(hearing.said_from(make, raw, is_deep=is_deep))


REFUSED = PollError(FaultKind.REFUSED, "closed")


def identified(
    answers: Mapping[Ask, Any], otherwise: PollError = REFUSED, **given: Any
) -> tuple[str | None, list[str]]:
    """The make that these answers prove, and the questions that it took; every other question fails as told.

    Errors: PollError of `identify.steps`.
    """
    asking, asked = steps(**given), []
    ask = next(asking)
    while True:
        asked.append(ask.name)
        try:
            ask = asking.send(answers.get(ask, otherwise))
        except StopIteration as done:
            found: Identified = done.value
            return found.maker, asked
