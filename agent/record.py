"""How a value of the domain becomes bytes in the journal and the same value again: the replay of a decision.

One codec for every frozen dataclass of `fleet`, driven by its type hints, so a new field needs no line here. The bytes
are a 4-byte mark and one zlib stream of [length of the header | JSON header | arrays, raw little-endian, 8-aligned].
zlib's own checksum covers all of it: a flipped bit is a `RecordError`, never another number. Nothing here can run code.

A tuple of dataclasses (machines, quotes) is written field by field, one list each: that is what makes 100,000 machines
affordable. NaN and infinity keep their meaning. Decoding is strict: an unknown or ill-typed field is an error; a field
that is absent takes the default of its dataclass, so a record of an older version stays readable.
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
import types
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache, lru_cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np

from fleet.curtailment import Memory, Policy
from fleet.market import Market
from fleet.signals import Signals
from fleet.site import Site
from fleet.snapshot import Snapshot
from fleet.tariff import PowerPrice

T = TypeVar("T")

MARK = b"HWR1"
MAX_DECODED_BYTES = 1 << 30
_ALIGN = 8
_SCALARS = (str, float, int, bool)


class RecordError(ValueError):
    """These bytes are not a record of the expected kind: damaged, foreign, or of a newer version."""


@dataclass(frozen=True, eq=False)
class CycleInputs:
    """The arguments of one `fleet.cycle.think` call, in its order."""

    site: Site
    snapshot: Snapshot
    market: Market
    signals: Signals
    policy: Policy
    memory: Memory
    now_s: float
    power: tuple[PowerPrice, ...] = ()


@dataclass(frozen=True, eq=False)
class _Moment:
    """CycleInputs without the site, which is encoded once while it stays the same object."""

    snapshot: Snapshot
    market: Market
    signals: Signals
    policy: Policy
    memory: Memory
    now_s: float
    power: tuple[PowerPrice, ...] = ()


def encode_cycle_inputs(
    site: Site,
    snapshot: Snapshot,
    market: Market,
    signals: Signals,
    policy: Policy,
    memory: Memory,
    now_s: float,
    power: tuple[PowerPrice, ...] = (),
) -> bytes:
    """Everything `think()` was given, so that a journal row gives the same actions and reasons again."""
    site_part = _encode_site(site)
    return (
        struct.pack("<I", len(site_part))
        + site_part
        + encode(_Moment(snapshot, market, signals, policy, memory, now_s, power))
    )


def decode_cycle_inputs(data: bytes) -> CycleInputs:
    """Inverse of `encode_cycle_inputs`; the arrays are read-only. Errors: RecordError."""
    if len(data) < 4:
        raise RecordError("a decision record is cut off")
    end = 4 + struct.unpack_from("<I", data)[0]
    moment = decode(_Moment, data[end:])
    return CycleInputs(
        decode(Site, data[4:end]),
        moment.snapshot, moment.market, moment.signals, moment.policy, moment.memory, moment.now_s,
        moment.power,
    )  # fmt: skip


@lru_cache(maxsize=1)
def _encode_site(site: Site) -> bytes:
    return encode(site)


def encode(value: Any) -> bytes:
    """Bytes of one dataclass instance. Errors: TypeError for a field type that this codec does not know."""
    arrays = bytearray()
    header = json.dumps(_dump(type(value), value, arrays), separators=(",", ":"), ensure_ascii=False)
    # Texts come from devices too: a lone surrogate must not cost the record.
    packed = header.encode("utf-8", "surrogatepass")
    packed += b" " * (-(len(packed) + 4) % _ALIGN)
    return MARK + zlib.compress(struct.pack("<I", len(packed)) + packed + arrays, 1)


def decode(kind: type[T], data: bytes) -> T:
    """One instance of the dataclass `kind` from its bytes; arrays are read-only views. Errors: RecordError."""
    if data[:4] != MARK:
        raise RecordError(f"not a {kind.__name__} record")
    try:
        stream = zlib.decompressobj()
        body = stream.decompress(data[4:], MAX_DECODED_BYTES)
        if not stream.eof or stream.unused_data:
            raise RecordError(f"a {kind.__name__} record is cut off or too long")
        size = struct.unpack_from("<I", body)[0]
        plain = json.loads(body[4 : 4 + size].decode("utf-8", "surrogatepass"))
        return cast(T, _load(kind, plain, memoryview(body)[4 + size :]))
    except RecordError:
        raise
    except (zlib.error, struct.error, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise RecordError(f"a {kind.__name__} record is damaged: {type(error).__name__}") from error


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Field name -> resolved type of a dataclass."""
    resolved = get_type_hints(kind)
    return {field.name: resolved[field.name] for field in dataclasses.fields(kind)}


@cache
def _shape(hint: Any) -> tuple[str, Any]:
    """What a type hint asks for: one word, and the types inside."""
    if hint in _SCALARS:
        return "scalar", hint
    origin, args = get_origin(hint), get_args(hint)
    if hasattr(origin, "__value__"):  # numpy >= 2.5 spells NDArray as a type alias
        return _shape(origin.__value__[args])
    if origin is np.ndarray:
        inner = get_args(args[1])
        is_named = isinstance(inner[0], type) and issubclass(inner[0], np.generic)
        return "array", np.dtype(inner[0]).newbyteorder("<") if is_named else None
    if origin in (types.UnionType, Union) and len(args) == 2 and type(None) in args:
        return "optional", args[0] if args[1] is type(None) else args[1]
    if origin is tuple and len(args) == 2 and args[1] is ...:
        return ("table" if dataclasses.is_dataclass(args[0]) else "list"), args[0]
    if origin is tuple:
        return "row", args
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "map", args
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "enum", hint
    if dataclasses.is_dataclass(hint):
        return "dataclass", hint
    raise TypeError(f"the journal cannot keep a {hint!r}")


def _is_plain(hint: Any) -> bool:
    """JSON carries it as it is, so a whole column of it needs no call per value."""
    word, inner = _shape(hint)
    return word == "scalar" or (word == "optional" and _is_plain(inner))


def _dump(hint: Any, value: Any, arrays: bytearray) -> Any:
    word, inner = _shape(hint)
    if word == "scalar":
        return value
    if word == "optional":
        return None if value is None else _dump(inner, value, arrays)
    if word == "enum":
        return value.value
    if word == "array":
        return _dump_array(np.asarray(value), arrays)
    if word == "dataclass":
        return {name: _dump(kind, getattr(value, name), arrays) for name, kind in _hints(inner).items()}
    if word == "table":
        return {"n": len(value)} | {
            name: [getattr(row, name) for row in value]
            if _is_plain(kind)
            else [_dump(kind, getattr(row, name), arrays) for row in value]
            for name, kind in _hints(inner).items()
        }
    if word == "map":
        return [[_dump(inner[0], k, arrays), _dump(inner[1], v, arrays)] for k, v in value.items()]
    if word == "row":
        return [_dump(kind, item, arrays) for kind, item in zip(inner, value, strict=True)]
    return list(value) if _is_plain(inner) else [_dump(inner, item, arrays) for item in value]


def _dump_array(array: np.ndarray[Any, np.dtype[Any]], arrays: bytearray) -> list[Any]:
    if array.dtype.kind not in "biuf":
        raise TypeError(f"the journal cannot keep an array of {array.dtype}")
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    start = len(arrays)
    arrays += little.tobytes()
    arrays += b"\0" * (-len(arrays) % _ALIGN)
    return [little.dtype.str, list(array.shape), start]


def _load(hint: Any, plain: Any, arrays: memoryview) -> Any:
    word, inner = _shape(hint)
    if word == "scalar":
        return _checked(inner, plain)
    if word == "optional":
        return None if plain is None else _load(inner, plain, arrays)
    if word == "enum":
        return inner(plain)
    if word == "array":
        return _load_array(inner, plain, arrays)
    if word == "dataclass":
        return inner(**{name: _load(kind, plain[name], arrays) for name, kind in _known(inner, plain).items()})
    if word == "table":
        return _load_table(inner, plain, arrays)
    if word == "map":
        return types.MappingProxyType({_load(inner[0], k, arrays): _load(inner[1], v, arrays) for k, v in plain})
    if word == "row":
        return tuple(_load(kind, item, arrays) for kind, item in zip(inner, plain, strict=True))
    return tuple(_load(inner, item, arrays) for item in plain)


def _load_table(kind: type, plain: dict[str, Any], arrays: memoryview) -> tuple[Any, ...]:
    count = plain.pop("n")
    known = _known(kind, plain)
    columns = [[_load(hint, item, arrays) for item in plain[name]] for name, hint in known.items()]
    if any(len(column) != count for column in columns):
        raise RecordError(f"the columns of {kind.__name__} differ in length")
    return tuple(kind(**dict(zip(known, row, strict=True))) for row in zip(*columns, strict=True))


def _known(kind: type, plain: dict[str, Any]) -> dict[str, Any]:
    """The fields that the record has, with their types; RecordError for one that this version does not know."""
    hints = _hints(kind)
    if unknown := plain.keys() - hints.keys():
        raise RecordError(f"{kind.__name__} has no field {min(unknown)!r}: was this written by a newer version?")
    return {name: hint for name, hint in hints.items() if name in plain}


def _checked(kind: type, plain: Any) -> Any:
    if kind is float and type(plain) is int:
        return float(plain)
    if type(plain) is not kind:
        raise RecordError(f"expected {kind.__name__}, found {type(plain).__name__}")
    return plain


def _load_array(expected: np.dtype[Any] | None, plain: list[Any], arrays: memoryview) -> np.ndarray[Any, np.dtype[Any]]:
    text, shape, start = plain
    dtype = np.dtype(text)
    if dtype.kind not in "biuf" or (expected is not None and dtype != expected):
        raise RecordError(f"expected an array of {expected}, found {dtype}")
    flat = np.frombuffer(arrays, dtype, count=math.prod(shape), offset=start)
    return flat.astype(dtype.newbyteorder("="), copy=False).reshape(shape)
