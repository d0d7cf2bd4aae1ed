"""The explicit map from the key of a make to what reads it, and what a model name proves about the algorithm.

Modules are imported when the first machine of their make shows up: a farm has few of them.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib import import_module

from collectors.miners.make import Make

_WHERE: dict[str, tuple[str, str]] = {
    "antminer": ("antminer", "MAKE"),
    "hiveon": ("antminer", "HIVEON"),
    "whatsminer": ("whatsminer", "MAKE"),
    "whatsminer_v3": ("whatsminer_v3", "MAKE"),
    "avalon": ("avalon", "MAKE"),
    "luxos": ("luxos", "MAKE"),
    "braiins": ("braiins", "MAKE"),
    "braiins_rest": ("braiins_rest", "MAKE"),
    "vnish": ("vnish", "MAKE"),
    "mara": ("mara", "MAKE"),
    "epic": ("epic", "MAKE"),
    "auradine": ("auradine", "MAKE"),
    "sealminer": ("sealminer", "MAKE"),
    "axeos": ("axeos", "MAKE"),
    "proto": ("proto", "MAKE"),
    "elphapex": ("elphapex", "MAKE"),
}

KEYS = tuple(_WHERE)
"""Every make that is read natively."""


@cache
def make_of(key: str) -> Make:
    """The make of a key. Errors: KeyError for one that is not read natively."""
    module, name = _WHERE[key]
    make = getattr(import_module(f"collectors.miners.{module}"), name)
    assert isinstance(make, Make)
    return make


# Bitmain's letter is the algorithm only together with its number: L, D, K, Z and E series hash something else.
# R4 and V9 were the S9's siblings for homes and small purses.
# U3 and its like stand before the series of machines in a rack: U3S21EXPH.
_ANTMINER_SHA256 = re.compile(r"(?:S[1-57]|S11|R4|V9|(?:U[0-9])?[ST](?:9|15|17|19|21|23))(?![0-9])", re.IGNORECASE)


@lru_cache(maxsize=1024)
def is_sha256_antminer(model: str) -> bool:
    """Whether a model name without its maker ("S19j Pro") is of a family that is known to hash SHA-256."""
    return _ANTMINER_SHA256.match(model) is not None


# MicroBT's letter is the algorithm: every M machine ever sold hashes SHA-256, the D1 hashes Blake-256.
_WHATSMINER_SHA256 = re.compile(r"M[0-9]{1,2}(?![0-9])", re.IGNORECASE)


def is_sha256_whatsminer(model: str) -> bool:
    """The same for a WhatsMiner ("M50S++ VK30")."""
    return _WHATSMINER_SHA256.match(model) is not None
