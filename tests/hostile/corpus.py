"""All cases together: those of bytes alone, and those that need a socket."""

from __future__ import annotations

from hostile import cases_avalon, cases_framing, cases_json, cases_lies, cases_malice, cases_values, cases_wire
from hostile.cases import Case

REPLIES: list[Case] = [
    *cases_framing.CASES,
    *cases_json.CASES,
    *cases_values.CASES,
    *cases_avalon.CASES,
    *cases_lies.CASES,
    *cases_malice.CASES,
]
WIRE = cases_wire.CASES
EVERYTHING: list[Case] = [*REPLIES, *(case.expect for case in WIRE)]
