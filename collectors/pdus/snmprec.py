"""Reads a saved walk (.snmprec: `OID|TAG|VALUE` lines) into the same varbinds that a live device gives.

TAG is the BER tag in decimal, with `x` for a hexadecimal value and `e` for one with backslash escapes. The value is
all after the second bar; lines need no order. Tags of simulators (`4:writecache` and the like) carry settings instead
of a value and are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator

from collectors.pdus.snmp import Oid, Value, parse_oid

INTEGER_TAGS = frozenset({"2", "65", "66", "67", "70"})
MAX_LINES = 100_000


def parse_snmprec(text: str, source: str = "walk") -> dict[Oid, Value]:
    """Varbinds in the order of their OIDs. Errors: ValueError that names the line."""
    found: dict[Oid, Value] = {}
    for number, line in _lines(text):
        try:
            oid, tag, raw = line.split("|", 2)
            value = _value(tag, raw)
            if value is not None:
                found[parse_oid(oid)] = value
        except ValueError as error:
            raise ValueError(f"{source} line {number}: {error}") from None
    return dict(sorted(found.items()))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if number > MAX_LINES:
            raise ValueError(f"more than {MAX_LINES} lines")
        line = line.rstrip("\r")
        if line.strip() and not line.startswith("#"):
            yield number, line


def _value(tag: str, raw: str) -> Value | None:
    if tag in INTEGER_TAGS:
        return int(raw)
    if tag == "4":
        return raw.encode("utf-8")
    if tag == "4e":
        return raw.encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1", "replace")
    if tag in ("4x", "64x"):
        return bytes.fromhex(raw)
    if tag == "6":
        return parse_oid(raw)
    if tag == "64":
        return bytes(int(part) for part in raw.split("."))
    if tag == "5" or ":" in tag:
        return None
    raise ValueError(f"tag {tag!r} is not known")
