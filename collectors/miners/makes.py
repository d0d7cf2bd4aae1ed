"""Who answers on port 4028: maker or firmware by the markers in its `version` reply, and what is proven SHA-256.

The order matters: LuxOS, VNish and MARA replies also contain ANTMINER, so custom firmware must win. The reply is
searched before its status is judged, because WhatsMiner names itself in the refusal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

ANTMINER_STOCK = "antminer"

_MARKERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("braiins", ("BOSMINER", "BOSER")),
    ("luxos", ("LUXMINER",)),
    ("hiveon", ("HIVEON",)),
    ("mara", ("KAONSU", "MARAFW")),
    ("vnish", ("VNISH",)),
    ("mskminer", ("RWGLR",)),
    ("whatsminer", ("BTMINER", "BITMICRO")),
    ("auradine", ("GCMINER", "FLUXOS")),
    ("sealminer", ("BDMINER",)),
    (ANTMINER_STOCK, ("ANTMINER",)),
    ("avalon", ("AVALON",)),
    ("goldshell", ("INTCHAINS_QOMO", "KDAMINER", "BFGMINER")),
    ("innosilicon", ("INNOMINER",)),
)


def classify(version: Mapping[str, Any]) -> str | None:
    """Maker or firmware that a `version` reply names; None where it names none that we know."""
    said = str(dict(version)).upper()
    return next((name for name, markers in _MARKERS if any(marker in said for marker in markers)), None)


# Bitmain's letter is the algorithm only together with its number: L, D, K, Z and E series hash something else.
_ANTMINER_SHA256 = re.compile(r"[ST](?:9|15|17|19|21)(?![0-9])", re.IGNORECASE)


def is_sha256_antminer(model: str) -> bool:
    """Whether a model name without its maker ("S19j Pro") is of a family that is known to hash SHA-256."""
    return _ANTMINER_SHA256.match(model) is not None
