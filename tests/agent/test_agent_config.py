"""The operator's file: what is accepted, and for everything else one line that names the key."""

from __future__ import annotations

import math
import os
import pickle
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.config import Config, ConfigError, Secret, load, load_neighbour
from agent.plan import assignments_of, policy_of, site_of
from fleet.curtailment import Mode, Policy
from fleet.site import EconomicTerms, plate_of

ROOT = Path(__file__).parents[2]
SITE = '[site]\nname = "north"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "hashwatt.toml"
    path.write_text(text, "utf-8")
    return path


def config_of(folder: Path, text: str) -> Config:
    return load(write(folder, SITE + text))


POWER_SECRETS = ("ercot.pw", "ercot.key", "entsoe.token")
V3 = "[[pdus]]\ntargets=['10.0.0.1']\nsnmp={version='3'"
KEYS = {"key7": "s3cret7\n", "key8": "s3cret88\n"}  # one character too short, and just long enough

# --- what is refused -------------------------------------------------------------------------------------------------

BAD = [
    # (text after [site], key, part of the message)
    ("[polcy]\n", "polcy", "unknown key; did you mean policy?"),
    ("[policy]\nmin_up = 3\n", "policy.min_up", "unknown key; did you mean min_up_s?"),
    (
        "[poll]\nfrequency = 3\n",
        "poll.frequency",
        "unknown key; known: deadline_s, interval_s, library, max_in_flight, tick_s",
    ),
    ('[poll]\n"we ird\\n" = 3\n', "poll.'we ird\\n'", "unknown key"),
    ("[[miners]]\ntargets = ['10.0.0.1']\n[[miners]]\ntarget = 1\n", "miners[1].target", "did you mean targets?"),
    ("[[pdus]]\ntargets=['10.0.0.1']\nsnmp={comunity='x'}\n", "pdus[0].snmp.comunity", "did you mean community?"),
    ("[credentials.hall1]\npassword = 'x'\n", "credentials.hall1.password", "did you mean password_file?"),
    ("poll = 3\n", "site.poll", "unknown key"),  # a bare key after [site] belongs to it
    ("[poll]\ninterval_s = 'often'\n", "poll.interval_s", "expected float, got str"),
    ("[poll]\ninterval_s = true\n", "poll.interval_s", "expected float, got bool"),
    ("[poll]\ninterval_s = 0\n", "poll.interval_s", "expected float >= 1.0, got 0"),
    ("[poll]\ninterval_s = nan\n", "poll.interval_s", "expected a finite number, got nan"),
    ("[poll]\ndeadline_s = inf\n", "poll.deadline_s", "expected a finite number, got inf"),
    ("[poll]\nmax_in_flight = 2.5\n", "poll.max_in_flight", "expected int, got float"),
    ("[[miners]]\ncredential = 'x'\n", "miners[0].targets", "is missing"),
    ("[[miners]]\ntargets = []\n", "miners[0].targets", "must not be empty"),
    ("[[miners]]\ntargets = '10.0.0.1'\n", "miners[0].targets", "expected a list, got '10.0.0.1'"),
    ("[[miners]]\ntargets = [7]\n", "miners[0].targets[0]", "expected str, got int"),
    ("[miners]\ntargets = ['10.0.0.1']\n", "miners", "expected a list"),
    ("[[miners]]\ntargets = ['10.0.0.0/33']\n", "miners[0].targets[0]", "'10.0.0.0/33' is not a CIDR block"),
    ("[[miners]]\ntargets = ['10.0.0.1', '10.0.5.0/22']\n", "miners[0].targets[1]", "the block is 10.0.4.0/22"),
    ("[[miners]]\ntargets = ['10.0.0']\n", "miners[0].targets[0]", "is not an IP address, a range or a CIDR block"),
    ("[[miners]]\ntargets = ['miner.lan']\n", "miners[0].targets[0]", "is not an IP address"),
    ("[[miners]]\ntargets = ['10.0.0.9-10.0.0.2']\n", "miners[0].targets[0]", "from a lower to a higher"),
    ("[[miners]]\ntargets = ['10.0.0.1:70000']\n", "miners[0].targets[0]", "no port between 1 and 65535"),
    ("[[miners]]\ntargets = ['10.0.0.0/8']\n", "miners[0].targets[0]", "covers 16777214 addresses"),
    ("[[miners]]\ntargets = ['8.8.8.8']\n", "miners[0].targets[0]", "set insecure = true"),
    ("[[miners]]\ntargets = ['172.15.255.0-172.16.0.9']\n", "miners[0].targets[0]", "set insecure = true"),
    ("[[miners]]\ntargets = ['169.254.169.254']\ninsecure = true\n", "miners[0].targets[0]", "link-local"),
    ("[[miners]]\ntargets = ['100.100.100.0/24']\ninsecure = true\n", "miners[0].targets[0]", "cloud metadata"),
    ("[[miners]]\ntargets = ['224.0.0.1']\ninsecure = true\n", "miners[0].targets[0]", "multicast"),
    ("[[miners]]\ntargets = ['fe80::1']\ninsecure = true\n", "miners[0].targets[0]", "link-local"),
    ("[[miners]]\ntargets = ['10.0.0.1']\ndriver = 'whats'\n", "miners[0].driver", "'auto' or 'antminer' or 'hiveon'"),
    ("[[miners]]\ntargets = ['10.0.0.1']\nport = 0\n", "miners[0].port", "expected int >= 1, got 0"),
    ("[[miners]]\ntargets = ['10.0.0.1']\ncredential = 'h1'\n", "miners[0].credential", "no [credentials.h1]"),
    ("[credentials.h1]\npassword_file = 'no.pw'\n", "credentials.h1.password_file", "No such file"),
    ("[credentials.h1]\nuser = 'root'\n", "credentials.h1.password_file", "is missing"),
    ("[[pdus]]\ntargets = ['8.8.8.8:161']\n", "pdus[0].targets[0]", "set insecure = true"),
    ("[[pdus]]\ntargets=['10.0.0.1']\nsnmp={community='s3cret'}\n", "pdus[0].snmp.community", "is a secret"),
    ("[[pdus]]\ntargets=['10.0.0.1']\nsnmp={version='2'}\n", "pdus[0].snmp.version", "must be '1' or '2c' or '3', not"),
    (f"{V3}}}\n", "pdus[0].snmp.user", "is missing: version 3 has users"),
    (f"{V3}, user=''}}\n", "pdus[0].snmp.user", "expected str of length >= 1"),
    (f"{V3}, user='u', community='public'}}\n", "pdus[0].snmp.community", "belongs to versions 1 and 2c; this is 3"),
    (f"{V3}, user='u', community_file='key8'}}\n", "pdus[0].snmp.community_file", "belongs to versions 1 and 2c"),
    (f"{V3}, user='u', auth='sha256'}}\n", "pdus[0].snmp.auth_key_file", "is missing beside auth"),
    (
        f"{V3}, user='u', auth_key_file='key8', priv='aes128'}}\n",
        "pdus[0].snmp.priv_key_file",
        "is missing beside priv",
    ),
    (f"{V3}, user='u', auth='md5'}}\n", "pdus[0].snmp.auth", "must be 'sha1' or 'sha224' or 'sha256'"),
    (f"{V3}, user='u', priv='des'}}\n", "pdus[0].snmp.priv", "must be 'aes128' or 'aes192' or 'aes256'"),
    (f"{V3}, user='u', auth_key_file='key7'}}\n", "pdus[0].snmp.auth_key_file", "holds fewer than 8 characters"),
    (
        f"{V3}, user='u', auth_key_file='key8', priv_key_file='key7'}}\n",
        "pdus[0].snmp.priv_key_file",
        "holds fewer than 8 characters",
    ),
    (f"{V3}, user='u', priv_key_file='key8'}}\n", "pdus[0].snmp.auth_key_file", "no encryption without authentication"),
    (f"{V3}, user='u', auth_key_file='nokey'}}\n", "pdus[0].snmp.auth_key_file", "No such file"),
    ("[[pdus]]\ntargets=['10.0.0.1']\nsnmp={user='u'}\n", "pdus[0].snmp.user", "belongs to version 3; this is 2c"),
    (
        "[[pdus]]\ntargets=['10.0.0.1']\nsnmp={version='1', priv_key_file='key8'}\n",
        "pdus[0].snmp.priv_key_file",
        "belongs to version 3; this is 1",
    ),
    ("pdus_dir = 'no'\n", "site.pdus_dir", "no is no folder"),
    ("pdus_dir = 'key8'\n", "site.pdus_dir", "key8 is no folder"),
    ("[[pdus]]\ntargets=['10.0.0.1']\nsnmp={community_file='no'}\n", "pdus[0].snmp.community_file", "No such file"),
    ("[[pdus]]\ntargets=['10.0.0.1']\nsnmp={engine='net'}\n", "pdus[0].snmp.engine", "'auto' or 'pysnmp' or 'gufo'"),
    ("[market]\nfixed = { btc_usd = 7 }\n", "market.fixed.btc_usd", "expected float >= 1000.0, got 7"),
    ("[market.fixed]\nas_of = 2026-01-01T00:00:00\n", "market.fixed.as_of", "timezone"),
    ("[market.fixed]\ngood_for_h = 3\n", "market.fixed.as_of", "is missing"),
    ("[market.mempool]\nurl = 'ftp://x'\n", "market.mempool.url", "http://host[:port] or https://host[:port]"),
    ("[market.mempool]\nurl = 'http://mempool.lan'\n", "market.mempool.url", "set insecure = true"),
    ("[market.kraken]\nurl = 'https://u:p4ss@x.y'\n", "market.kraken.url", "must not hold a user or password"),
    ("[market.coinbase]\nurl = 'https://x.y/?a=1'\n", "market.coinbase.url", "must end after the address"),
    ("[economics]\npool_fee = 1.0\n", "economics.pool_fee", "expected float < 1.0, got 1.0"),
    ("[economics]\noverhead = -0.1\n", "economics.overhead", "expected float >= 0.0, got -0.1"),
    ("[pools]\nexpected = 'a'\n", "pools.expected", "expected a list"),
    ("[tariff]\n", "tariff.usd_per_kwh", "is missing"),
    ("[tariff]\nusd_per_kwh = 60\n", "tariff.usd_per_kwh", "expected float <= 5.0, got 60"),
    ("[policy]\nlease_s = 241\n", "policy.lease_s", "expected float <= 240.0, got 241"),
    ("[policy]\nhold = 'forever'\n", "policy.hold", "must be 'release' or 'keep', not 'forever'"),
    ("[policy]\nmode = 'armed'\n", "policy.mode", "armed mode needs a signing key and an ended shadow period"),
    ("[policy]\nstart_factor = 0.6\n", "policy.start_factor", "must not exceed policy.stop_factor"),
    ("[prometheus]\nlisten = '0.0.0.0:9851'\n", "prometheus.listen", "without TLS and authentication"),
    ("[prometheus]\nlisten = '[::]:9851'\n", "prometheus.listen", "without TLS and authentication"),
    ("[prometheus]\nlisten = '127.0.0.1'\n", "prometheus.listen", "is not address:port"),
    ("[prometheus]\nlisten = '127.0.0.1:99999'\n", "prometheus.listen", "is not address:port"),
    ("[prometheus]\nlisten = 'farm.lan:9851'\n", "prometheus.listen", "is not an IP address"),
    ("[mqtt]\n", "mqtt.url", "is missing"),
    ("[mqtt]\nurl = 'http://x'\n", "mqtt.url", "mqtt://host[:port] or mqtts://host[:port]"),
    ("[mqtt]\nurl = 'mqtt://x:port'\n", "mqtt.url", "is not a URL"),
    ("[mqtt]\nurl = 'mqtt://127.0.0.1/topic'\n", "mqtt.url", "must end after the address"),
    ("[mqtt]\nurl='mqtt://127.0.0.1'\nca_file='hashwatt.toml'\n", "mqtt.ca_file", "needs an mqtts:// url"),
    ("[mqtt]\nurl='mqtts://h'\ncert_file='hashwatt.toml'\n", "mqtt.key_file", "is missing"),
    ("[mqtt]\nurl='mqtts://h'\npassword_file='hashwatt.toml'\n", "mqtt.username", "is missing"),
    (
        "[mqtt]\nurl='mqtt://h'\nusername='u'\npassword_file='hashwatt.toml'\n",
        "mqtt.url",
        "leaves this machine in clear",
    ),
    ("[journal]\npath = ''\n", "journal.path", "expected str of length >= 1"),
    ("[log]\nlevel = 'loud'\n", "log.level", "must be 'debug' or 'info' or 'warning' or 'error', not 'loud'"),
]


@pytest.mark.parametrize(("text", "key", "message"), BAD, ids=[f"{key}-{i}" for i, (_, key, _) in enumerate(BAD)])
def test_a_bad_file_is_one_line_that_names_the_key(tmp_path: Path, text: str, key: str, message: str) -> None:
    for name, secret in KEYS.items():
        (tmp_path / name).write_text(secret)
    with pytest.raises(ConfigError) as caught:
        config_of(tmp_path, text)
    line = str(caught.value)
    assert caught.value.key == key
    assert line.startswith(f"hashwatt.toml: {key}: ")
    assert message in line
    assert "\n" not in line
    assert "p4ss" not in line
    assert "s3cret" not in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "site: is missing"),
        (b"[site]\n", "site.name: is missing"),
        (b'[site]\nname = "north site"\n', "site.name: expected str matching regex"),
        (b"[site\n", "is not TOML"),
        (b"[site]\nname = 'a'\nname = 'b'\n", "is not TOML"),
        (b"[site]\nname = '\xff'\n", "is not UTF-8 text"),
        (b"[site]\nname='n'\ninventory='none.csv'\n", "site.inventory: cannot read"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "hashwatt.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^hashwatt.toml: .*{message}"):
        load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*/none\.toml: No such file or directory"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("csv", "key", "message"),
    [
        ("id,volts\nm1,3\n", "site.inventory", "machines.csv: unknown column 'volts'"),
        ("id,power_w\nm1,much\n", "site.inventory", "machines.csv line 2: power_w 'much' is not a positive number"),
        ("id,address\nm1,10.0.0.300\n", "site.inventory: m1: address", "is not an IP address"),
        ("id,address\nm1,10.0.0.0/30\n", "site.inventory: m1: address", "is not one address"),
        ("id,address\nm1,8.8.8.8\n", "site.inventory: m1: address", "outside private address space"),
        ("id,address\nm1,169.254.1.1\n", "site.inventory: m1: address", "link-local"),
        ("id,credential\nm1,hall9\n", "site.inventory: m1: credential", "no [credentials.hall9]"),
    ],
)
def test_inventory_errors_name_the_file_and_the_place(tmp_path: Path, csv: str, key: str, message: str) -> None:
    (tmp_path / "machines.csv").write_text(csv)
    with pytest.raises(ConfigError) as caught:
        config_of(tmp_path, 'inventory = "machines.csv"\n')
    assert caught.value.key == key
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["[policy]\nmin_up = 3\n", "[prometheus]\nlisten = '0.0.0.0:9851'\n", "[[miners]]\ntargets=['10.0.0.0/99']\n"],
)
def test_the_command_exits_2_with_one_line_and_no_traceback(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, SITE + text)
    done = subprocess.run(
        [sys.executable, "-m", "agent", "check", "--config", str(path)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"hashwatt\.toml: (policy|prometheus|miners)\S+: .+\n", done.stderr)


# --- what is accepted ------------------------------------------------------------------------------------------------


def test_the_smallest_file_gives_the_defaults_of_the_design(tmp_path: Path) -> None:
    config = config_of(tmp_path, "")
    assert (config.poll.interval_s, config.poll.tick_s) == (30.0, 10.0)
    assert config.prometheus.endpoint == ("127.0.0.1", 9851)
    assert config.journal_path == Path("/var/lib/hashwatt/hashwatt.db")
    assert config.mqtt is None
    assert policy_of(config) == Policy()
    assert policy_of(config).hold_release_s == 15 * 60


def test_what_is_allowed_but_unwise_is_a_warning(tmp_path: Path) -> None:
    config = config_of(
        tmp_path,
        "[[pdus]]\ntargets=['10.0.0.1']\nsnmp={community='public'}\n"
        "[[miners]]\ntargets=['8.8.8.0/24', '8.8.8.7']\ninsecure=true\n"
        "[prometheus]\nlisten='0.0.0.0:9851'\ninsecure=true\n[mqtt]\nurl='mqtt://10.0.0.5'\n",
    )
    keys = {warning.split(":")[0] for warning in config.warnings}
    assert keys == {
        "pdus[0].snmp.community",
        "miners[0].targets[1]",
        "prometheus.listen",
        "mqtt.url",
        "market",
        "tariff",
    }


@pytest.mark.parametrize(
    ("snmp", "keys"),
    [
        ("version='1', community_file='key8'", {"version"}),
        ("version='1'", {"version", "community"}),
        ("community_file='key8'", set()),
        ("version='3', user='u'", {"auth_key_file"}),
        ("version='3', user='u', auth_key_file='key8'", {"priv_key_file"}),
        ("version='3', user='u', auth_key_file='key8', priv_key_file='key8'", set()),
    ],
)
def test_every_level_of_snmp_that_leaves_something_open_is_a_warning(tmp_path: Path, snmp: str, keys: set[str]) -> None:
    (tmp_path / "key8").write_text("s3cret88\n")
    (tmp_path / "key8").chmod(0o600)
    config = config_of(tmp_path, f"[[pdus]]\ntargets=['10.0.0.1']\nsnmp={{{snmp}}}\n")
    warned = {warning.split(":")[0] for warning in config.warnings if warning.startswith("pdus")}
    assert warned == {f"pdus[0].snmp.{key}" for key in keys}
    assert "s3cret" not in f"{config!r}"


def test_a_user_of_snmp_v3_reaches_the_worker_whole_and_nobody_else(tmp_path: Path) -> None:
    for name, secret in (("auth", "auth-s3cret\n"), ("priv", "priv-s3cret")):
        (tmp_path / name).write_text(secret)
    snmp = "user='u', auth='sha512', auth_key_file='auth', priv='aes256', priv_key_file='priv', engine='pysnmp'"
    config = config_of(tmp_path, f"[[pdus]]\ntargets=['10.9.0.1']\nsnmp={{version='3', {snmp}}}\n")
    (job,) = next(a.jobs for a in assignments_of(config, site_of(config, "")) if a.name == "snmp")
    assert job.options == {
        "profile": "auto", "version": "3", "engine": "pysnmp", "user": "u", "auth": "sha512", "priv": "aes256",
        "auth_key": "auth-s3cret", "priv_key": "priv-s3cret",
    }  # fmt: skip
    assert "s3cret" not in f"{config!r} {job!r}"
    assert config.pdus[0].snmp.secrets() == ("auth-s3cret", "priv-s3cret")


def test_pdu_profiles_are_looked_for_beside_the_file_unless_a_folder_is_named(tmp_path: Path) -> None:
    assert config_of(tmp_path, "").pdu_profiles is None
    (tmp_path / "pdus.d").mkdir()
    pdus = "[[pdus]]\ntargets = ['10.9.0.1']\n"
    config = config_of(tmp_path, pdus)
    assert config.pdu_profiles == tmp_path / "pdus.d"
    (job,) = next(a.jobs for a in assignments_of(config, site_of(config, "")) if a.name == "snmp")
    assert job.options is not None
    assert job.options["profiles"] == str(tmp_path / "pdus.d")
    (tmp_path / "mine").mkdir()
    assert config_of(tmp_path, "pdus_dir = 'mine'\n" + pdus).pdu_profiles == tmp_path / "mine"


def test_an_outlet_of_an_unknown_pdu_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "machines.csv").write_text("id,pdu,outlet\na,10.9.0.1,1\nb,10.9.0.2:1161,1\nc,10.9.0.1:161,2\nd,p9,1\n")
    config = config_of(tmp_path, "inventory = 'machines.csv'\n[[pdus]]\ntargets = ['10.9.0.1', '10.9.0.2:1161']\n")
    warning = next(w for w in config.warnings if w.startswith("site.inventory"))
    assert "2 machines name a PDU that no [[pdus]] entry covers, first c with '10.9.0.1:161'" in warning


def test_secrets_are_read_beside_the_file_and_never_shown(tmp_path: Path) -> None:
    for name, secret in (("hall1.pw", "hunter2\n"), ("community", "n0tpublic"), ("mqtt.pw", "br0ker\r\n")):
        (tmp_path / name).write_text(secret)
        (tmp_path / name).chmod(0o600)
    config = config_of(
        tmp_path,
        "[credentials.hall1]\npassword_file='hall1.pw'\n[[pdus]]\ntargets=['10.0.0.1']\n"
        "snmp={community_file='community'}\n[mqtt]\nurl='mqtts://10.0.0.5'\nusername='u'\npassword_file='mqtt.pw'\n",
    )
    assert config.credentials["hall1"].password.reveal() == "hunter2"
    assert config.pdus[0].snmp.reveal() == "n0tpublic"
    assert config.mqtt is not None
    assert config.mqtt.password is not None
    assert config.mqtt.password.reveal() == "br0ker"
    assert config.mqtt.endpoint == ("10.0.0.5", 8883)
    shown = f"{config!r} {config.mqtt.password} {config.warnings}"
    assert not any(secret in shown for secret in ("hunter2", "n0tpublic", "br0ker"))
    with pytest.raises(TypeError):
        pickle.dumps(Secret("hunter2"))


def test_systemd_credentials_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "hall1.pw").write_text("from systemd")
    (tmp_path / "hall1.pw").write_text("from the folder")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "run"))
    config = config_of(tmp_path, "[credentials.hall1]\npassword_file='hall1.pw'\n")
    assert config.credentials["hall1"].password.reveal() == "from systemd"


def test_a_secret_open_to_all_is_a_warning_and_an_empty_one_an_error(tmp_path: Path) -> None:
    secret = tmp_path / "hall1.pw"
    secret.write_text("x")
    secret.chmod(0o644)
    text = "[credentials.hall1]\npassword_file='hall1.pw'\n"
    assert any("chmod 600" in warning for warning in config_of(tmp_path, text).warnings)
    secret.write_text("\n")
    with pytest.raises(ConfigError, match=r"credentials\.hall1\.password_file: .* holds no secret"):
        config_of(tmp_path, text)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_an_unreadable_secret_is_named(tmp_path: Path) -> None:
    (tmp_path / "hall1.pw").write_text("x")
    (tmp_path / "hall1.pw").chmod(0)
    with pytest.raises(ConfigError, match="Permission denied"):
        config_of(tmp_path, "[credentials.hall1]\npassword_file='hall1.pw'\n")


def test_the_listener_is_read_without_a_right_to_the_secrets(tmp_path: Path) -> None:
    path = write(tmp_path, SITE + "[credentials.x]\npassword_file='none'\n[prometheus]\nlisten='127.0.0.1:9000'\n")
    assert load_neighbour(path).listener.endpoint == ("127.0.0.1", 9000)


def test_the_example_loads_as_it_is_and_with_every_option_switched_on(tmp_path: Path) -> None:
    example = (ROOT / "docs" / "hashwatt.example.toml").read_text("utf-8")
    load(ROOT / "docs" / "hashwatt.example.toml")
    every = re.sub(r"(?m)^# (?=\[|\w+ = )", "", example).replace("mqtt://127", "mqtts://127")
    for name in (
        "hall1.pw",
        "community",
        "snmp-auth",
        "snmp-priv",
        "mqtt.pw",
        "ca.pem",
        "web.yml",
        "luxor.key",
        *POWER_SECRETS,
    ):
        (tmp_path / name).write_text("x" * 8)
    (tmp_path / "prices.csv").write_text("time,value\n2026-08-20T00:00Z,50\n2026-08-20T01:00Z,60\n")
    (tmp_path / "history.url").write_text("postgresql://user:secret@host/database\n")
    (tmp_path / "pdus.d").mkdir()
    (tmp_path / "machines.csv").write_text("id\nm1\n")
    (tmp_path / "models.csv").write_text("model,hashrate_th,power_w,source\nS19,95,3250,our meter\n")
    config = load(write(tmp_path, every))
    assert config.mqtt is not None
    assert config.pdu_profiles == tmp_path / "pdus.d"
    assert [pdus.snmp.version for pdus in config.pdus] == ["2c", "3"]
    assert config.market.fixed is not None
    assert config.market.fixed.as_of == datetime(2026, 8, 20, 12, tzinfo=UTC)
    assert policy_of(config) == Policy(), "a commented value is the default"


# --- what becomes of it ----------------------------------------------------------------------------------------------


def jobs_of(config: Config, worker: str) -> dict[str, tuple[str, str, int]]:
    assignments = {a.name: a for a in assignments_of(config, site_of(config, ""))}
    return {job.key: (job.kind, job.host, job.port) for job in assignments[worker].jobs}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("10.1.0.7", {"10.1.0.7": ("auto", "10.1.0.7", 4028)}),
        ("10.1.0.7:4029", {"10.1.0.7:4029": ("auto", "10.1.0.7", 4029)}),
        ("10.1.0.4/30", {f"10.1.0.{n}": ("auto", f"10.1.0.{n}", 4028) for n in (5, 6)}),
        ("10.1.0.4/31", {f"10.1.0.{n}": ("auto", f"10.1.0.{n}", 4028) for n in (4, 5)}),
        ("10.1.0.255-10.1.1.1", {h: ("auto", h, 4028) for h in ("10.1.0.255", "10.1.1.0", "10.1.1.1")}),
        ("10.1.0.7-9", {f"10.1.0.{n}": ("auto", f"10.1.0.{n}", 4028) for n in (7, 8, 9)}),
        ("fd00::7", {"fd00::7": ("auto", "fd00::7", 4028)}),
        ("[fd00::7]:4029", {"[fd00::7]:4029": ("auto", "fd00::7", 4029)}),
    ],
)
def test_targets_become_one_job_per_address(
    tmp_path: Path, target: str, expected: dict[str, tuple[str, str, int]]
) -> None:
    assert jobs_of(config_of(tmp_path, f"[[miners]]\ntargets = ['{target}']\n"), "miners") == expected


def test_every_worker_gets_its_jobs_and_the_inventory_its_word(tmp_path: Path) -> None:
    for name in ("hall1.pw", "odd.pw"):
        (tmp_path / name).write_text(name)
    (tmp_path / "machines.csv").write_text("id,address,credential\na,10.1.0.2,odd\nb,10.7.0.1,\n")
    config = config_of(
        tmp_path,
        "inventory = 'machines.csv'\n"
        "[credentials.hall1]\npassword_file = 'hall1.pw'\n[credentials.odd]\nuser='admin'\npassword_file = 'odd.pw'\n"
        "[[miners]]\ntargets = ['10.1.0.0/29']\ncredential = 'hall1'\n"
        "[[miners]]\ntargets = ['10.1.0.2', '10.3.0.1']\ndriver = 'pyasic'\n"
        "[[pdus]]\ntargets = ['10.9.0.1', '10.9.0.2:1161']\nprofile = 'apc_rpdu2'\n"
        "[market]\nfixed = { btc_usd = 70000.0, as_of = 2026-01-01T00:00:00Z, good_for_h = 2 }\n"
        "mempool = { url = 'http://127.0.0.1:8999' }\nkraken = {}\n",
    )
    workers = {a.name: {job.key: job for job in a.jobs} for a in assignments_of(config, site_of(config, ""))}

    assert set(workers) == {"miners", "pyasic", "snmp", "feeds"}
    assert list(workers["miners"]) == [f"10.1.0.{n}" for n in range(1, 7)] + ["10.7.0.1"]
    assert list(workers["pyasic"]) == ["10.3.0.1"], "10.1.0.2 belongs to the entry that named it first"
    assert workers["miners"]["10.1.0.1"].options == {"user": "root", "password": "hall1.pw"}
    assert workers["miners"]["10.1.0.2"].options == {"user": "admin", "password": "odd.pw"}
    assert workers["miners"]["10.7.0.1"].options is None
    assert list(workers["snmp"]) == ["10.9.0.1", "10.9.0.2:1161"]
    public = {"profile": "apc_rpdu2", "version": "2c", "community": "public", "engine": "auto"}
    assert workers["snmp"]["10.9.0.1"].options == public
    deadlines = {name: next(iter(jobs.values())).deadline_s for name, jobs in workers.items()}
    assert deadlines == {"miners": 5.0, "pyasic": 20.0, "snmp": 8.0, "feeds": 10.0}

    feeds = workers["feeds"]
    assert (feeds["mempool"].host, feeds["mempool"].port, feeds["mempool"].interval_s) == ("127.0.0.1", 8999, 60.0)
    assert (feeds["kraken"].host, feeds["kraken"].port, feeds["kraken"].interval_s) == ("api.kraken.com", 443, 30.0)
    # 2026-01-01T00:00:00Z is 1767225600 (date -d)
    assert feeds["fixed"].options == {"btc_usd": 70000.0, "as_of_s": 1767225600.0, "good_for_s": 7200.0}


def test_the_operators_catalogue_goes_before_ours(tmp_path: Path) -> None:
    ours = "model,hashrate_th,power_w\nS19j Pro,100,3050\nS19j Pro (104T),104,3068\nS21,200,3500\n"
    (tmp_path / "models.csv").write_text(
        "model,hashrate_th,power_w,source\nS19j Pro,100,2900,our meter\nHouse 1,1,30,\n"
    )
    site = site_of(config_of(tmp_path, "catalogue = 'models.csv'\n"), ours)
    watts = {model: plate.power_w for model in ("S19j Pro (104T)", "S19j Pro", "S21", "House 1")
             if (plate := plate_of(site.nameplates, model))}  # fmt: skip
    assert watts == {"S19j Pro (104T)": 2900.0, "S19j Pro": 2900.0, "S21": 3500.0, "House 1": 30.0}
    (tmp_path / "models.csv").write_text("model,hashrate_th,power_w\nS19j Pro,100,much\n")
    with pytest.raises(ConfigError) as caught:
        config_of(tmp_path, "catalogue = 'models.csv'\n")
    assert caught.value.key == "site.catalogue"
    assert "models.csv line 2: power_w 'much' is not a positive number" in str(caught.value)


def test_site_and_policy_carry_the_operators_numbers(tmp_path: Path) -> None:
    config = config_of(
        tmp_path,
        "[economics]\npool_fee=0.02\nreject=0.01\noverhead=0.1\nhashprice_sigma=0.03\nhashrate_sigma=0.04\n"
        "power_price_sigma=0.05\ncertainty_sigmas=2\n[pools]\nexpected=['pool.example']\n"
        "[tariff]\nusd_per_kwh=-0.01\n[policy]\nenabled=false\nhold='keep'\nhold_release_min=5\nmin_up_s=60\n",
    )
    site = site_of(config, "model,hashrate_th,power_w\nAntminer S19,95,3250\n")
    assert (site.name, site.expected_pools, site.nameplates["s19"].power_w) == ("north", ("pool.example",), 3250)
    assert site.terms == EconomicTerms(0.02, 0.01, 0.1, 0.03, 0.04, 0.05, 2.0)
    assert site.tariff.usd_per_kwh == -0.01
    assert math.isnan(site_of(config_of(tmp_path, ""), "").tariff.usd_per_kwh)
    policy = policy_of(config)
    assert (policy.enabled, policy.mode, policy.hold_keep, policy.hold_release_s, policy.min_up_s) == (
        False, Mode.ADVISORY, True, 300.0, 60.0,
    )  # fmt: skip
