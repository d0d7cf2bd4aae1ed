"""The fuzz targets hold for their seeds and for broken neighbours of them; `make fuzz` goes on from there."""

from __future__ import annotations

import random

import pytest

from fuzz.targets import Fuzz, targets

TARGETS = {fuzz.name: fuzz for fuzz in targets()}
NEIGHBOURS = 150


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_ends_in_a_value_or_in_a_promised_error(name: str) -> None:
    fuzz = TARGETS[name]
    for data in (*fuzz.seeds, *broken(fuzz)):
        fuzz.run(data)


def broken(fuzz: Fuzz) -> list[bytes]:
    """Seeds with a few bytes changed, cut or doubled; the same at every run."""
    dice = random.Random(fuzz.name)
    found = []
    for _ in range(NEIGHBOURS):
        data = bytearray(dice.choice(fuzz.seeds) or b"{}")
        for _ in range(dice.randrange(1, 8)):
            at = dice.randrange(len(data)) if data else 0
            match dice.randrange(4):
                case 0:
                    data[at : at + 1] = bytes([dice.randrange(256)])
                case 1:
                    del data[at : at + dice.randrange(1, 30)]
                case 2:
                    data[at:at] = data[at : at + dice.randrange(1, 60)]
                case _:
                    data[at:at] = dice.choice(
                        (b"[", b"{", b"}", b"]", b'"', b",", b"\\", b"null", b"nan", b"-1", b"\0")
                    )
        found.append(bytes(data))
    return found
