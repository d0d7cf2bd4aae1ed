"""The explicit map from the kind of a feed to its class. The HTTP library is imported only where a feed needs it.

Options: `fixed` takes one key per market input, `as_of_s` (Unix time) and `good_for_s`; `file` takes `path`. All others
take `base_url` (of the server, without the paths of its interface), `proxy` and `ca_file`; `bitcoin_core` also
`cookie_file`, or `user` and `password`; `luxor` also `key`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fleet.market import BOUNDS, HASHPRICE_INPUTS, in_bounds
from fleet.ports import Feed

if TYPE_CHECKING:
    from collectors.feeds.http import HttpClient

Options = Mapping[str, str | float | bool]
Clock = Callable[[], float]

HTTP_OPTIONS = ("base_url", "proxy", "ca_file")


def open_feed(kind: str, options: Options, deadline_s: float, now: Clock) -> Feed:
    """A feed of `kind`; `now` gives Unix time. Errors: ValueError for what the operator must put right."""
    if kind not in FEEDS:
        raise ValueError(f"unknown feed {kind!r}: it is one of {', '.join(FEEDS)}")
    return FEEDS[kind](options, deadline_s, now)


def _open_mempool(options: Options, deadline_s: float, now: Clock) -> Feed:
    from collectors.feeds.mempool import BASE_URL, MempoolFeed

    base_url, client, _ = _http(options, now)
    return MempoolFeed(client, base_url or BASE_URL, deadline_s, now)


def _open_bitcoin_core(options: Options, deadline_s: float, now: Clock) -> Feed:
    from collectors.feeds.bitcoin_core import BitcoinCoreFeed, cookie_login

    base_url, client, own = _http(options, now, ("cookie_file", "user", "password"))
    if set(own) == {"cookie_file"}:
        login = cookie_login(own["cookie_file"])
    elif set(own) == {"user", "password"}:
        login = lambda: f"{own['user']}:{own['password']}"  # noqa: E731 - the cookie is a function of the moment
    else:
        raise ValueError("bitcoin_core needs a cookie_file, or a user and a password")
    return BitcoinCoreFeed(client, "bitcoin_core", base_url, login, deadline_s, now)


def _open_blockchain_info(options: Options, deadline_s: float, now: Clock) -> Feed:
    from collectors.feeds.tie_breakers import BlockchainInfoFeed

    base_url, client, _ = _http(options, now)
    return BlockchainInfoFeed(client, "blockchain_info", base_url, deadline_s, now)


def _open_braiins(options: Options, deadline_s: float, now: Clock) -> Feed:
    from collectors.feeds.tie_breakers import BraiinsFeed

    base_url, client, _ = _http(options, now)
    return BraiinsFeed(client, "braiins", base_url, deadline_s, now)


def _open_luxor(options: Options, deadline_s: float, now: Clock) -> Feed:
    from collectors.feeds.luxor import LuxorFeed

    base_url, client, own = _http(options, now, ("key",))
    if not own.get("key"):
        raise ValueError("luxor needs a key")
    return LuxorFeed(client, "luxor", base_url, own["key"], deadline_s, now)


def _open_file(options: Options, deadline_s: float, now: Clock) -> Feed:
    from collectors.feeds.handwritten import HandwrittenFeed

    _refuse_unknown(options, ("path",))
    return HandwrittenFeed(_text("path", options.get("path", False)), "file", now)


def _open_exchange(kind: str) -> Callable[[Options, float, Clock], Feed]:
    def open_exchange(options: Options, deadline_s: float, now: Clock) -> Feed:
        from collectors.feeds.exchange import TICKERS, ExchangeFeed

        base_url, client, _ = _http(options, now)
        return ExchangeFeed(client, kind, TICKERS[kind], deadline_s, now, base_url)

    return open_exchange


def _open_fixed(options: Options, deadline_s: float, now: Clock) -> Feed:
    from collectors.feeds.fixed import FixedFeed

    inputs = {input.value: input for input in HASHPRICE_INPUTS}
    _refuse_unknown(options, (*inputs, "as_of_s", "good_for_s"))
    numbers = {key: _number(key, value) for key, value in options.items()}
    good_for_s = numbers.pop("good_for_s", math.inf)
    if "as_of_s" not in numbers and math.isfinite(good_for_s):
        # counted from the start, the value would be new again after each restart
        raise ValueError("good_for_s needs as_of_s")
    as_of_s = numbers.pop("as_of_s", None)
    values = {inputs[key]: value for key, value in numbers.items()}
    for input, value in values.items():
        if not in_bounds(input, value):
            low, high = BOUNDS[input]
            raise ValueError(f"{input.value} {value:g} is not between {low:g} and {high:g}")
    return FixedFeed(values, now() if as_of_s is None else as_of_s, good_for_s)


FEEDS: Mapping[str, Callable[[Options, float, Clock], Feed]] = {
    "bitcoin_core": _open_bitcoin_core,
    "mempool": _open_mempool,
    **{kind: _open_exchange(kind) for kind in ("coinbase", "kraken", "bitstamp", "gemini", "bitfinex")},
    "blockchain_info": _open_blockchain_info,
    "braiins": _open_braiins,
    "luxor": _open_luxor,
    "fixed": _open_fixed,
    "file": _open_file,
}


def _http(options: Options, now: Clock, own: tuple[str, ...] = ()) -> tuple[str | None, HttpClient, dict[str, str]]:
    """The base URL, a client, and the options that are the feed's own."""
    from collectors.feeds.http import HttpClient

    _refuse_unknown(options, (*HTTP_OPTIONS, *own))
    texts = {key: _text(key, value) for key, value in options.items()}
    for key in ("base_url", "proxy"):
        if key in texts and not _is_address(texts[key]):
            raise ValueError(f"{key} is not an http:// or https:// address without a query")
    client = HttpClient(now=now, **{key: texts.pop(key) for key in ("proxy", "ca_file") if key in texts})
    return texts.pop("base_url", None), client, texts


def _is_address(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment


def _refuse_unknown(options: Options, known: tuple[str, ...]) -> None:
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"unknown option {unknown[0]!r}: it is one of {', '.join(known)}")


def _text(key: str, value: str | float | bool) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{key} is not a text")
    return value


def _number(key: str, value: str | float | bool) -> float:
    if isinstance(value, str | bool) or not abs(value) < 1e300:  # also NaN, and an integer past every float
        raise ValueError(f"{key} is not a number")
    return float(value)
