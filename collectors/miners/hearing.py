"""From the bytes of one answer to what a make's `read` is given: decoded, judged, digested. Pure; no I/O.

Live looks, captures, the hostile corpus and the fuzz targets all come through here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from collectors.miners import cgminer
from collectors.miners.make import Ask, Make, Said, Via
from fleet.ports import PollError
from fleet.readings import FaultKind

MAX_PAGE_CHARS = 64 * 1024


def hear(ask: Ask, raw: bytes) -> Any:
    """The decoded answer to one question. Errors: PollError for bytes that say nothing and answers that refuse."""
    return accepted(ask, decoded(ask, raw))


def decoded(ask: Ask, raw: bytes) -> Any:
    """JSON of any type, or the text of a page. Errors: those of `cgminer.decode`."""
    if ask.is_text:
        return raw[:MAX_PAGE_CHARS].decode("utf-8", errors="replace")
    if ask.is_rpc:
        return cgminer.decode(raw)
    cgminer.Receiver().feed(raw)  # only for its depth cap: the length was bounded on the way in
    cgminer.check_members(raw)
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return _mended_list(raw) if raw.lstrip()[:1] == b"[" else cgminer.decode(raw)


def _mended_list(raw: bytes) -> list[Any]:
    """A page that is a list at the top, whose fault lies in the bytes of its texts or behind its end.

    Errors: PollError MALFORMED for anything else.
    """
    try:
        value = orjson.loads(raw.decode("utf-8", errors="replace").strip("\0 \t\r\n"))
    except orjson.JSONDecodeError:
        raise PollError(FaultKind.MALFORMED, "not JSON, also after repair") from None
    return value if isinstance(value, list) else []


def accepted(ask: Ask, answer: Any) -> Any:
    """The same answer, unless it refuses. Errors: PollError DENIED or UNSUPPORTED by what the refusal says."""
    if ask.any_status:
        return answer
    if ask.is_rpc:
        cgminer.require(answer, ask.what)
    elif ask.via is Via.FRAMED:
        _require_framed(answer, ask.what)
    return answer


def _require_framed(answer: Any, command: str) -> None:
    """WhatsMiner v3: code 0 is success, everything else comes with its reason in `msg`."""
    code = cgminer.integer(answer.get("code")) if isinstance(answer, dict) else None
    if code == 0:
        return
    if code is None:
        raise PollError(FaultKind.MALFORMED, f"{command}: an answer without a code")
    reason = cgminer.text(answer.get("msg")) or str(code)
    words = reason.lower()
    denied = code in (-2, -4, -5) and any(word in words for word in ("permission", "token", "auth", "password"))
    raise PollError(FaultKind.DENIED if denied else FaultKind.UNSUPPORTED, f"{command}: {reason}")


def take(said: Said, ask: Ask, answer: Any) -> None:
    """Digest one accepted answer into `said`, with the warnings that decoding it left."""
    if isinstance(answer, cgminer.Reply) and answer.warnings:  # a page that had to be mended is one, too
        said.warnings += answer.warnings
    if ask.is_rpc and "STATUS" not in answer:
        said.warnings += (cgminer.NO_STATUS,)
    said[ask.name] = answer if ask.digest is None else ask.digest(answer)


def said_from(make: Make, raw: Mapping[str, bytes], is_deep: bool = False) -> Said:
    """What a machine of this make said, from the bytes of its answers by the name of their question."""
    said = Said(is_deep=is_deep)
    for ask in make.asks:
        if ask.name in raw:
            try:
                take(said, ask, hear(ask, raw[ask.name]))
            except PollError as error:
                said.faults[ask.name] = error
    return said
