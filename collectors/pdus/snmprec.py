"""Saved walks: read from .snmprec or from what `snmpwalk -On` prints, written as .snmprec, which every simulator knows.

A line of .snmprec is `OID|TAG|VALUE`. TAG is the BER tag in decimal, with `x` for a hexadecimal value and `e` for one
with backslash escapes; the value is all after the second bar, and lines need no order. Tags of simulators
(`4:writecache` and the like) carry settings instead of a value and are skipped. Text that a line cannot hold as it is
(line ends, control characters, blanks at its ends, anything but ASCII) is written in hexadecimal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from collectors.pdus.snmp import Oid, Value, format_oid, parse_oid

INTEGER, OCTETS, OBJECT_ID, IP_ADDRESS, OPAQUE = 2, 4, 6, 64, 68
INTEGER_TAGS = frozenset({"2", "65", "66", "67", "70", "71"})
SUFFIX = ".snmprec"
MAX_LINES = 100_000
MAX_BYTES = 32 * 1024 * 1024


class Tagged(NamedTuple):
    """A value with its BER tag: a Counter32 is 65, and without its tag nobody could tell it from an INTEGER."""

    tag: int
    value: Value


def load_walk(path: Path) -> dict[Oid, Value]:
    """The walk in a file of either form, or the one in a folder. Errors: ValueError in one line."""
    file = path if not path.is_dir() else next(iter(sorted(path.glob(f"*{SUFFIX}"))), None)
    if file is None:
        raise ValueError(f"{path} holds no {SUFFIX} file")
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ValueError(f"{file} is larger than {MAX_BYTES // 1024**2} MiB")
        text = file.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise ValueError(f"cannot read {file}: {error.strerror}") from None
    found = parse_walk(text, file.name)
    if not found:
        raise ValueError(f"{file} holds no object")
    return found


def parse_walk(text: str, source: str = "walk") -> dict[Oid, Value]:
    """Varbinds in the order of their OIDs, of either form. Errors: ValueError that names the line."""
    first = next((line for _, line in _lines(text)), "")
    return parse_snmpwalk(text, source) if " = " in first and "|" not in first else parse_snmprec(text, source)


# --- .snmprec --------------------------------------------------------------------------------------------------------


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
            raise ValueError(f"{source} line {number}: {_plainly(error)}") from None
    return dict(sorted(found.items()))


def format_snmprec(rows: Mapping[Oid, Tagged]) -> str:
    """The lines of a walk in the order of their OIDs."""
    return "".join(f"{format_oid(oid)}|{_written(*rows[oid])}\n" for oid in sorted(rows))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if number > MAX_LINES:
            raise ValueError(f"more than {MAX_LINES} lines")
        line = line.rstrip("\r")
        if line.strip() and not line.startswith("#"):
            yield number, line


def _plainly(error: ValueError) -> str:
    return "is not OID|TAG|VALUE" if "unpack" in str(error) else str(error)


def _value(tag: str, raw: str) -> Value | None:
    if tag in INTEGER_TAGS:
        return int(raw) if raw else None  # some agents send integers of length 0
    if tag == "4":
        return raw.encode("utf-8", "surrogateescape")
    if tag in ("4e", "64e"):
        return raw.encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1", "replace")
    if tag in ("4x", "64x", "68x"):
        return bytes.fromhex(raw)
    if tag == "6":
        return parse_oid(raw)
    if tag == "64":
        return bytes(int(part) for part in raw.split("."))
    if tag == "5" or ":" in tag:
        return None
    raise ValueError(f"tag {tag!r} is not known")


def _written(tag: int, value: Value) -> str:
    if isinstance(value, int):
        return f"{tag}|{value}"
    if isinstance(value, tuple):
        return f"{tag}|{format_oid(value)}"
    if tag == OCTETS and all(32 <= octet < 127 for octet in value) and value.strip() == value:
        return f"{tag}|{value.decode('ascii')}"
    return f"{tag}x|{value.hex()}"


# --- what `snmpwalk -On` prints --------------------------------------------------------------------------------------

_ROOTS = {"ccitt": "0", "iso": "1"}  # what snmpwalk without -On says for the first number, where it has no MIBs
_ROOT = re.compile(r"\.?(ccitt|iso)(?=\.\d)")
_PRINTED = re.compile(r"\.?(?P<oid>\d+(?:\.\d+)+) = (?:(?P<type>[A-Za-z][A-Za-z0-9 -]*): ?)?(?P<value>.*)", re.DOTALL)
_NUMBER = re.compile(r"(?:.*\()?(-?\d+)(?:\).*|\s.*|)", re.DOTALL)
_DOUBT = re.compile(r"Wrong Type \(should be [^)]*\): ")  # snmpwalk has a MIB of its own opinion; the value stands
_ABSENT = ("No Such", "No more variables", "NULL")


def parse_snmpwalk(text: str, source: str = "walk") -> dict[Oid, Value]:
    """Varbinds from the output of `snmpwalk -On`. Errors: ValueError that names the line."""
    found: dict[Oid, Value] = {}
    for number, printed in _entries(text):
        match = _PRINTED.fullmatch(_DOUBT.sub("", printed, count=1))
        if match is None:
            raise ValueError(f"{source} line {number}: is not OID = TYPE: VALUE with OIDs in numbers (snmpwalk -On)")
        try:
            value = _read(match["type"] or "", match["value"])
            if value is not None:
                found[parse_oid(match["oid"])] = value
        except ValueError as error:
            raise ValueError(f"{source} line {number}: {error}") from None
    return dict(sorted(found.items()))


def _entries(text: str) -> Iterator[tuple[int, str]]:
    """Printed values by the line that each begins in: texts and octets may go on over several lines."""
    begun, parts = 0, list[str]()
    for number, line in _lines(text):
        line = _in_numbers(line)
        if re.match(r"\.?\d+(?:\.\d+)+ = ", line):
            if parts:
                yield begun, "\n".join(parts)
            begun, parts = number, [line]
        elif parts:
            parts.append(line)
        else:
            yield number, line
    if parts:
        yield begun, "\n".join(parts)


def _in_numbers(text: str) -> str:
    root = _ROOT.match(text)
    return text if root is None else _ROOTS[root[1]] + text[root.end() :]


def _read(kind: str, raw: str) -> Value | None:
    match kind:
        case "STRING":
            return _unquoted(raw)
        case "Hex-STRING" | "OPAQUE" | "BITS":
            return bytes.fromhex("".join(re.findall(r"\b[0-9A-Fa-f]{2}\b", raw)))
        case "OID":
            return parse_oid(_in_numbers(raw))
        case "IpAddress" | "Network Address":
            return bytes(int(part, 16 if ":" in raw else 10) for part in re.split(r"[.:]", raw.strip()))
        case (
            "INTEGER" | "Integer32" | "Counter32" | "Counter64" | "Gauge32" | "Unsigned32" | "Timeticks" | "UInteger32"
        ):
            number = _NUMBER.fullmatch(raw)
            if number is None:
                raise ValueError(f"{raw[:40]!r} is no number")
            return int(number[1])
        case "" if raw.startswith('"'):
            return _unquoted(raw)
        case _ if not kind and (raw.startswith(_ABSENT) or not raw):
            return None
        case "":
            raise ValueError(f"{raw[:40]!r} has no type in front of it (snmpwalk -On, without -Oq, -OQ or -Ot)")
        case _:
            raise ValueError(f"the type {kind[:40]!r} is not known")


def _unquoted(raw: str) -> bytes:
    quoted = re.fullmatch(r'"(.*)"', raw, re.DOTALL)
    text = raw if quoted is None else re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL)
    return text.encode("utf-8", "surrogateescape")
