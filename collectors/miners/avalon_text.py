"""The `KEY[values]` text that Avalon firmware hides in its JSON strings, as a mapping. No I/O.

A-series: `Ver[15-194-2410] Elapsed[975]BOOTBY[1] SYSTEMSTATU[Work: In Work, Hash Board: 3 ] SSID[] Nonce Mask[25]`.
Q, Mini and late A15 wrap such lists in named blocks: `'STATS':{Ver[Q-2505] ...}`, `'HB0':{PVT_T0[58 59] MW0[1 2]}`.

The text is cut at opening brackets and each piece at its first closing one: every character is looked at a bounded
number of times, whatever stands there. A bracket that opens inside another starts over (`MM ID0[Ver[..],..]`), one that
closes without having been opened is skipped, and a value without its end is not a value: it may be half a number.
"""

from __future__ import annotations

from collections.abc import Mapping

from collectors.miners import cgminer

MAX_CHARS = 64 * 1024  # the largest machines say 12 kB
MAX_PIECES = 1024
MAX_KEY_CHARS = 32
MAX_VALUES = 512

_AROUND_WORDS = " \t\r\n,;:'\"{}"


def blocks(text: object) -> dict[str, dict[str, str]]:
    """Values by key, by block; what stands in no block is in the block "". The last of equal keys wins.

    Empty for everything that is not a text. Never raises.
    """
    found: dict[str, dict[str, str]] = {}
    if not isinstance(text, str):
        return found
    before, *pieces = text[:MAX_CHARS].split("[", MAX_PIECES)
    block, key = _names(before, "")
    for piece in pieces:
        value, closing, rest = piece.partition("]")
        if closing and key:
            found.setdefault(block, {})[key] = value
        # Where a value has no end, all but the word before the next bracket was that value.
        block, key = _names(rest if closing else value.rpartition(" ")[2], block)
    return found


def _names(text: str, block: str) -> tuple[str, str]:
    """The block and the key that a stretch between two values names; it stays the old block where it names none."""
    opening = text.rfind("{")
    return (block if opening < 0 else _word(text[:opening])), _word(text[opening + 1 :])


def _word(text: str) -> str:
    """The name at the end of a text; "" for none and for what is too long to be one."""
    word = text.rpartition("]")[2].strip(_AROUND_WORDS)
    return word if len(word) <= MAX_KEY_CHARS else ""


def number(fields: Mapping[str, str], key: str) -> float | None:
    """One number of a key, or None. Percents lose their sign: `DH[2.732%]` is 2.732."""
    value = fields.get(key)
    return None if value is None else cgminer.number(value)


def numbers(fields: Mapping[str, str], key: str) -> tuple[float | None, ...]:
    """The numbers of a key, in order; None for each that is none. A missing or empty key has no numbers."""
    value = fields.get(key)
    return () if not value else tuple(cgminer.number(part) for part in value.split(None, MAX_VALUES)[:MAX_VALUES])
