"""The [market] of the configuration: who is asked for market numbers, and the jobs that ask.

A feed is a section with an address; what a feed needs beside that (a login, a key) is a key of its own section, and a
secret is always a file. Public feeds are looked at as a guest: spread in time, and less often while they fail.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from agent.section import ConfigError, Secret, Section, Text
from agent.wire import Job
from fleet.market import BOUNDS, MarketInput

Options = dict[str, str | float | bool]

FEED_INTERVAL_S = {
    "bitcoin_core": 60.0,
    "mempool": 60.0,
    "coinbase": 30.0,
    "kraken": 30.0,
    "bitstamp": 30.0,
    "gemini": 30.0,
    "bitfinex": 30.0,
    "blockchain_info": 300.0,
    "braiins": 300.0,
    "luxor": 600.0,
    "file": 60.0,
    "fixed": 60.0,
}
FEED_DEADLINE_S = 10.0


def _quoted(of: MarketInput) -> Any:
    low, high = BOUNDS[of]
    return Meta(ge=low, le=high)


class FixedSection(Section, frozen=True):
    """Market numbers from the operator. Without `as_of` they are good for ever, but only for advisory advice."""

    btc_usd: Annotated[float, _quoted(MarketInput.BTC_USD)] | None = None
    difficulty: Annotated[float, _quoted(MarketInput.DIFFICULTY)] | None = None
    block_fees_btc: Annotated[float, _quoted(MarketInput.BLOCK_FEES_BTC)] | None = None
    height: Annotated[float, _quoted(MarketInput.HEIGHT)] | None = None
    as_of: Annotated[datetime, Meta(tz=True)] | None = None
    good_for_h: Annotated[float, Meta(gt=0, le=24 * 366)] | None = None

    def options(self) -> Options:
        """The numbers by input name, with `as_of_s` (Unix time) and `good_for_s` where the operator says them."""
        values = {
            "btc_usd": self.btc_usd,
            "difficulty": self.difficulty,
            "block_fees_btc": self.block_fees_btc,
            "height": self.height,
            "as_of_s": None if self.as_of is None else self.as_of.timestamp(),
            "good_for_s": None if self.good_for_h is None else self.good_for_h * 3600.0,
        }
        return {name: value for name, value in values.items() if value is not None}


class FileSection(Section, frozen=True):
    """Market numbers in a file that may be replaced while the agent runs."""

    path: Text


class FeedSection(Section, frozen=True, kw_only=True):
    """A server that is asked. `ca_file` is a private CA that then counts alone."""

    url: Text
    insecure: bool = False
    ca_file: Path | None = None
    proxy: Text | None = None

    def options(self, home: Path) -> Options:
        """What the collector needs; `home` is the folder of the configuration."""
        told: Options = {"base_url": self.url}
        if self.ca_file is not None:
            told["ca_file"] = str(self.ca_file)
        return told if self.proxy is None else told | {"proxy": self.proxy}


class BitcoinCoreSection(FeedSection, frozen=True, kw_only=True):
    """A node; its cookie is looked for at every look, as the node writes a new one at each start."""

    url: Text = "http://127.0.0.1:8332"
    cookie_file: Text | None = None
    user: Text | None = None
    password: Secret | None = msgspec.field(name="password_file", default=None)

    def options(self, home: Path) -> Options:
        told = FeedSection.options(self, home)
        if self.cookie_file is not None:
            return told | {"cookie_file": str(home / self.cookie_file)}
        assert self.user is not None and self.password is not None  # noqa: PT018 - check_market has seen to it
        return told | {"user": self.user, "password": self.password.reveal()}


class MempoolSection(FeedSection, frozen=True, kw_only=True):
    url: Text = "https://mempool.space"


class CoinbaseSection(FeedSection, frozen=True, kw_only=True):
    url: Text = "https://api.coinbase.com"


class KrakenSection(FeedSection, frozen=True, kw_only=True):
    url: Text = "https://api.kraken.com"


class BitstampSection(FeedSection, frozen=True, kw_only=True):
    url: Text = "https://www.bitstamp.net"


class GeminiSection(FeedSection, frozen=True, kw_only=True):
    url: Text = "https://api.gemini.com"


class BitfinexSection(FeedSection, frozen=True, kw_only=True):
    url: Text = "https://api.bitfinex.com"


class BlockchainInfoSection(FeedSection, frozen=True, kw_only=True):
    url: Text = "https://api.blockchain.info"


class BraiinsSection(FeedSection, frozen=True, kw_only=True):
    url: Text = "https://learn.braiins.com/api"


class LuxorSection(FeedSection, frozen=True, kw_only=True):
    url: Text = "https://api.hashrateindex.com"
    key: Secret = msgspec.field(name="key_file")

    def options(self, home: Path) -> Options:
        return FeedSection.options(self, home) | {"key": self.key.reveal()}


class MarketSection(Section, frozen=True):
    bitcoin_core: BitcoinCoreSection | None = None
    mempool: MempoolSection | None = None
    coinbase: CoinbaseSection | None = None
    kraken: KrakenSection | None = None
    bitstamp: BitstampSection | None = None
    gemini: GeminiSection | None = None
    bitfinex: BitfinexSection | None = None
    blockchain_info: BlockchainInfoSection | None = None
    braiins: BraiinsSection | None = None
    luxor: LuxorSection | None = None
    file: FileSection | None = None
    fixed: FixedSection | None = None

    def feeds(self) -> Iterator[tuple[str, FeedSection]]:
        """The servers that are asked, by their kind."""
        for name in self.__struct_fields__:
            section = getattr(self, name)
            if isinstance(section, FeedSection):
                yield name, section

    def named(self) -> list[str]:
        """Every source that the file names."""
        return [name for name in self.__struct_fields__ if getattr(self, name) is not None]


PRICES = ("coinbase", "kraken", "bitstamp", "gemini", "bitfinex", "file")
CHAINS = ("bitcoin_core", "mempool", "file")


def check_market(market: MarketSection) -> Iterable[str]:
    """What spans several keys, but for the addresses; yields warnings, raises ConfigError."""
    core, fixed = market.bitcoin_core, market.fixed
    if core is not None:
        _check_login(core)
    if fixed is not None and fixed.good_for_h is not None and fixed.as_of is None:
        # counted from the start of the agent, the values would be new again after each restart
        raise ConfigError("market.fixed.as_of", "is missing: good_for_h counts from it")
    named = market.named()
    prices = [name for name in named if name in PRICES]
    if not (prices or (fixed and fixed.btc_usd is not None)):
        yield f"market: no source of the BTC price (fixed, {', '.join(PRICES)}), so there is no hashprice"
    if not ({*named} & {*CHAINS} or (fixed and fixed.difficulty is not None and fixed.height is not None)):
        yield f"market: no source of difficulty and height (fixed, {', '.join(CHAINS)}), so there is no hashprice"
    if len(prices) == 1 and prices != ["file"] and not {*named} & {"mempool", "blockchain_info", "braiins"}:
        yield f"market: {prices[0]} is the only source of the BTC price; without a second one no machine is stopped"


def _check_login(core: BitcoinCoreSection) -> None:
    key = "market.bitcoin_core"
    if core.cookie_file is not None:
        if core.user is not None or core.password is not None:
            raise ConfigError(f"{key}.cookie_file", "stands beside user and password_file; name one of the two")
    elif core.user is None and core.password is None:
        raise ConfigError(f"{key}.cookie_file", "is missing, and so are user and password_file")
    elif core.user is None or core.password is None:
        raise ConfigError(
            f"{key}.{'user' if core.user is None else 'password_file'}", "is missing: they stand together"
        )


def market_jobs(market: MarketSection, home: Path) -> Iterator[Job]:
    """The looks of every source that the file names; `home` is its folder."""
    for name, feed in market.feeds():
        parts = urlsplit(feed.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        yield _job(name, parts.hostname or "", port, feed.options(home), is_guest=name != "bitcoin_core")
    if market.file is not None:
        yield _job("file", "", 0, {"path": str(home / market.file.path)})
    if market.fixed is not None:
        yield _job("fixed", "", 0, market.fixed.options())


def _job(name: str, host: str, port: int, options: Options, is_guest: bool = False) -> Job:
    return Job(name, name, host, port, FEED_INTERVAL_S[name], FEED_DEADLINE_S, options, is_guest)
