"""[market] of the configuration: every mistake is one line with its key, and every section one job."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config import Config, ConfigError, load
from agent.feeds import FEED_INTERVAL_S, MarketSection, market_jobs
from collectors.feeds.catalogue import FEEDS, open_feed

SITE = '[site]\nname = "north"\n'
EVERYTHING = """
[market]
bitcoin_core = { cookie_file = "core/.cookie" }
mempool = { url = "http://127.0.0.1:8999", proxy = "http://127.0.0.1:3128" }
coinbase = {}
kraken = {}
bitstamp = {}
gemini = {}
bitfinex = {}
blockchain_info = {}
braiins = {}
luxor = { key_file = "luxor.key" }
file = { path = "numbers.toml" }
fixed = { btc_usd = 70000.0 }
"""


def read(folder: Path, text: str) -> Config:
    (folder / "luxor.key").write_text("k-e-y\n")
    (folder / "luxor.key").chmod(0o600)
    (folder / "core.pw").write_text("hush")
    (folder / "core.pw").chmod(0o600)
    (folder / "site.toml").write_text(SITE + text)
    return load(folder / "site.toml")


def test_every_kind_of_feed_can_be_configured_and_opened(tmp_path: Path) -> None:
    config = read(tmp_path, EVERYTHING)
    jobs = {job.kind: job for job in market_jobs(config.market, tmp_path)}
    assert set(jobs) == set(FEEDS) - {"power_file"} - {kind for kind in FEEDS if kind.startswith("power")}
    assert set(jobs) == set(FEED_INTERVAL_S) == set(MarketSection.__struct_fields__)
    for job in jobs.values():
        open_feed(job.kind, job.options or {}, job.deadline_s, lambda: 1_770_000_000.0)
    assert jobs["bitcoin_core"].options == {
        "base_url": "http://127.0.0.1:8332", "cookie_file": str(tmp_path / "core/.cookie"),
    }  # fmt: skip
    assert jobs["luxor"].options == {"base_url": "https://api.hashrateindex.com", "key": "k-e-y"}
    assert jobs["mempool"].options == {"base_url": "http://127.0.0.1:8999", "proxy": "http://127.0.0.1:3128"}
    assert jobs["file"].options == {"path": str(tmp_path / "numbers.toml")}
    assert (jobs["coinbase"].host, jobs["coinbase"].port) == ("api.coinbase.com", 443)
    # a public server is somebody else's, one's own node is not
    assert {kind for kind, job in jobs.items() if not job.is_guest} == {"bitcoin_core", "file", "fixed"}
    assert "k-e-y" not in repr(config)
    assert "k-e-y" not in repr(jobs["luxor"])


def test_a_user_and_a_password_log_in_to_a_node(tmp_path: Path) -> None:
    config = read(tmp_path, '[market.bitcoin_core]\nuser = "hw"\npassword_file = "core.pw"\n')
    (job,) = market_jobs(config.market, tmp_path)
    assert job.options == {"base_url": "http://127.0.0.1:8332", "user": "hw", "password": "hush"}


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("[market.bitcoin_core]\n", "market.bitcoin_core.cookie_file", "is missing"),
        ('[market.bitcoin_core]\nuser = "x"\n', "market.bitcoin_core.password_file", "is missing"),
        ('[market.bitcoin_core]\npassword_file = "core.pw"\n', "market.bitcoin_core.user", "is missing"),
        (
            '[market.bitcoin_core]\ncookie_file = "c"\nuser = "x"\npassword_file = "core.pw"\n',
            "market.bitcoin_core.cookie_file",
            "stands beside",
        ),
        (
            '[market.bitcoin_core]\ncookie_file = "c"\nurl = "http://10.0.0.9:8332"\n',
            "market.bitcoin_core.url",
            "clear",
        ),
        ('[market.bitcoin_core]\npassword = "x"\n', "market.bitcoin_core.password", "unknown key"),
        ("[market.luxor]\n", "market.luxor.key_file", "is missing"),
        ('[market.luxor]\nkey = "abc"\n', "market.luxor.key", "unknown key"),
        ('[market.luxor]\nkey_file = "nowhere"\n', "market.luxor.key_file", "cannot read"),
        ("[market.file]\n", "market.file.path", "is missing"),
        ('[market.gemini]\nurl = "ftp://x"\n', "market.gemini.url", "must be a URL"),
        ('[market.gemini]\nproxy = "socks5://x"\n', "market.gemini.proxy", "must be a URL"),
        ('[market.gemini]\nca_file = "nowhere.pem"\n', "market.gemini.ca_file", "cannot read"),
        ("[market.gemini]\ninsecur = true\n", "market.gemini.insecur", "did you mean insecure"),
        ("[market.bitfinnex]\n", "market.bitfinnex", "did you mean bitfinex"),
    ],
)
def test_a_mistake_is_one_line_with_its_key(tmp_path: Path, text: str, key: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert caught.value.key == key
    assert message in caught.value.message
    assert "\n" not in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("[market.mempool]\n[market.kraken]\n", None),
        ("[market.bitcoin_core]\ncookie_file = 'c'\n[market.kraken]\n[market.gemini]\n", None),
        ("[market.file]\npath = 'n.toml'\n", None),
        ("[market.bitcoin_core]\ncookie_file = 'c'\n[market.kraken]\n", "kraken is the only source of the BTC price"),
        ("[market.mempool]\n", "no source of the BTC price"),
        ("[market.kraken]\n[market.gemini]\n", "no source of difficulty and height"),
    ],
)
def test_a_market_that_lacks_something_is_told(tmp_path: Path, text: str, warning: str | None) -> None:
    told = [each for each in read(tmp_path, text).warnings if each.startswith("market")]
    assert (told == []) if warning is None else (warning in told[0] and len(told) == 1)
