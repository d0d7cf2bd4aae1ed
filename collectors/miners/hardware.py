"""Whose machine custom firmware runs on, from the name that it gives: maker, marketing name, and what it must hash.

LuxOS, Braiins OS, VNish and MARA are firmware, not makers: money is counted for the hardware under them, and a
nameplate is found by the hardware's name. "Antminer S19 (Vnish 1.2.0)" is an Antminer S19.
"""

from __future__ import annotations

import re
from functools import lru_cache
from sys import intern
from typing import NamedTuple

from collectors.miners import cgminer
from collectors.miners.makes import is_sha256_antminer, is_sha256_whatsminer

ANTMINER, WHATSMINER, BRAIINS = "Antminer", "WhatsMiner", "Braiins"
_MAKERS = (("antminer", ANTMINER), ("whatsminer", WHATSMINER), ("avalon", "Avalon"), ("braiins", BRAIINS))

_COMPANIES = ("bitmain ", "microbt ", "canaan ")
_MINI = re.compile(r"(?:Mini Miner )?(BMM [0-9]+)", re.IGNORECASE)  # Braiins' own, for SHA-256 alone


class Hardware(NamedTuple):
    """`model` without its maker ("S19k Pro"), None = not said; `algorithm` None = not proven by it."""

    make: str
    model: str | None
    algorithm: str | None


def algorithm(said: object) -> str | None:
    """`SHA-256`, `sha256d` and their like under one name; others in the machine's own word."""
    word = (cgminer.text(said) or "").lower().replace("-", "")
    return intern("sha256" if word == "sha256d" else word) or None


UNNAMED = Hardware(ANTMINER, None, None)


def named(said: object) -> Hardware:
    """The hardware behind a name. A name without a maker is an Antminer's: that is what this firmware was made for."""
    name = cgminer.text(said)
    return UNNAMED if name is None else _named(name)


@lru_cache(maxsize=256)
def _named(name: str) -> Hardware:
    bare = name.split(" (")[0].strip()
    company = next((word for word in _COMPANIES if bare.lower().startswith(word)), "")
    bare = bare[len(company) :]
    make = next((make for word, make in _MAKERS if bare.lower().startswith(word)), ANTMINER)
    model = bare[len(make) :].strip(" -_") if bare.lower().startswith(make.lower()) else bare
    if not model:
        return Hardware(make, None, None)
    if make == ANTMINER and model.upper().startswith("BHB"):
        return Hardware(make, None, None)  # a board id is no model
    if (mini := _MINI.fullmatch(model)) is not None:
        return Hardware(BRAIINS, mini[1].upper(), "sha256")
    is_proven = is_sha256_antminer(model) if make == ANTMINER else make == WHATSMINER and is_sha256_whatsminer(model)
    return Hardware(make, model, "sha256" if is_proven else None)
