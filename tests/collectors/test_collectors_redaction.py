"""Nothing that names a person, a machine or a way in leaves a farm; everything else stays as the machine said it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.redaction import REDACTED, Kind, Redactor, kind_of

CAPTURES = Path(__file__).resolve().parent.parent / "captures" / "miners"
KEY = b"one run"


def redacted(text: str | bytes, key: bytes = KEY) -> str:
    raw = text if isinstance(text, bytes) else text.encode()
    return Redactor(key).redact(raw).decode("latin-1")


# --- the table ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "spellings"),
    [
        (
            Kind.SECRET,
            "Password pass passwd pwd pw PASSPHRASE fallbackStratumPassword _ant_pool1pw wifiPass stratum_pw1",
        ),
        (Kind.SECRET, "token access_token Token apiKey client_secret salt newsalt session_id SessionID PHPSESSID psk"),
        (Kind.SECRET, "wifi_key wpa-psk wpaKey privateKey Authorization Set-Cookie community"),
        (Kind.ACCOUNT, "User user username Worker worker_name account login stratumUser _ant_pool1user pool_user"),
        (Kind.WALLET, "wallet walletAddress payout_address"),
        (Kind.EMAIL, "email e-mail eMailAddress"),
        (Kind.MAC, "mac MAC macaddr MACAddr mac_address wifi_mac hwaddr"),
        (
            Kind.SERIAL,
            "serial serialNo serial_number serinum miner-sn PCB-SN pcbsn0 DNA i-SN cb_sn cpuSerial eeprom",
        ),
        (Kind.SERIAL, "miner_id uuid HBSerialNo"),
        (Kind.NAME, "hostname HostName conf_hostname ssid wifi_ssid"),
        (Kind.ADDRESS, "ip ipaddr IPAddr ipaddress ipv4 gateway default_gateway dns dnsservers conf_dnsservers"),
    ],
)
def test_a_name_tells_what_stands_behind_it(kind: Kind, spellings: str) -> None:
    for name in spellings.split(" "):
        assert kind_of(name) is kind, name


def test_a_name_that_only_looks_like_it_tells_nothing() -> None:
    names = (
        "Nonce-Mask UpdateOnUser IsUserShutdown bypass Chip-Data chip_type MHS-av GHS-5s version eeprom_loaded Miner"
    )
    more = "Elapsed Serialized Description tip ship macro dnsmasq pools.url host key_mgmt hashrate_key netmask Pool"
    assert {name: kind_of(name) for name in f"{names} {more}".split()} == dict.fromkeys(f"{names} {more}".split())


# --- how each is replaced ----------------------------------------------------------------------------------------


def test_a_secret_becomes_one_word_whatever_it_was() -> None:
    assert redacted('{"password": "hunter2", "Pass":"", "pw":1234, "salt":null}') == (
        '{"password": "REDACTED", "Pass":"", "pw":0, "salt":null}'
    )


@pytest.mark.parametrize("mac", ["C4:08:28:00:A4:19", "c4:08:28:00:a4:19", "c4-08-28-00-a4-19", "c4082800a419"])
def test_a_mac_becomes_one_that_nobody_made_in_the_same_spelling(mac: str) -> None:
    said = json.loads(redacted(json.dumps({"mac": mac})))["mac"]
    assert said != mac
    assert [c for c in said if not c.isalnum()] == [c for c in mac if not c.isalnum()]
    assert said.isupper() == mac.isupper()
    assert int(re.sub(r"[:-]", "", said)[:2], 16) & 0b11 == 0b10  # locally administered, one machine's


def test_one_machine_is_one_pseudonym_in_every_spelling_and_reply() -> None:
    replies = {
        "stats": b'{"miner_id":"62f75eb71046"}',
        "config": b'{"MACAddr":"62:f7:5e:b7:10:46","x":"62:F7:5E:B7:10:46 is me"}',
    }
    told = Redactor(KEY).folder(replies)
    plain = json.loads(told["config"])["MACAddr"]
    assert json.loads(told["stats"])["miner_id"] == plain.replace(":", "")
    assert json.loads(told["config"])["x"] == f"{plain.upper()} is me"


def test_a_value_that_one_reply_names_is_taken_out_of_the_others() -> None:
    replies = {"log": b"login of acme-farm-77x failed", "pools": b'{"User":"acme-farm-77x"}'}
    assert b"acme-farm" not in Redactor(KEY).folder(replies)["log"]


def test_an_ordinary_word_that_is_a_password_too_stays_where_it_is_a_word() -> None:
    replies = {"pools": b'{"password":"password","User":"x"}', "x": b'{"password":"password","x":"x"}'}
    assert Redactor(KEY).folder(replies)["x"] == b'{"password":"REDACTED","x":"x"}'


def test_a_machine_named_by_its_model_keeps_the_model() -> None:
    told = Redactor(KEY).folder({"info": b'{"hostname":"DG-Home1","minertype":"DG-Home1"}'})["info"]
    assert json.loads(told)["minertype"] == "DG-Home1"
    assert json.loads(told)["hostname"] != "DG-Home1"


@pytest.mark.parametrize(
    ("name", "value"),
    [("serial", "JYZZB0UBDJABF06RB"), ("User", "acme.rig-01"), ("hostname", "hall-3-rig"), ("uuid", "12ab-9f")],
)
def test_an_identity_keeps_its_shape(name: str, value: str) -> None:
    said = json.loads(redacted(json.dumps({name: value})))[name]
    assert said != value

    def shape(text: str) -> str:
        return "".join("9" if c.isdigit() else "A" if c.isupper() else "a" if c.islower() else c for c in text)

    assert shape(said) == shape(value)


def test_addresses_of_the_farm_become_addresses_that_no_machine_has() -> None:
    said = redacted('{"ip":"192.168.6.25","dns":"8.8.8.8 10.0.0.1","a":"http://84.3.2.1/x","mask":"255.255.255.0"}')
    for gone in ("192.168.6.25", "8.8.8.8", "10.0.0.1", "84.3.2.1"):
        assert gone not in said
    assert len(re.findall(r"\b198\.1[89]\.\d+\.\d+", said)) == 4
    assert "255.255.255.0" in said


@pytest.mark.parametrize(
    "text", ['{"Miner":"49.0.1.3"}', '{"BVER":"10.0.0.1"}', '{"ip":"0.0.0.0"}', '{"host":"127.0.0.1"}']
)
def test_what_names_no_host_stays(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize(
    "text",
    [
        '{"note":"me@farm.example"}',
        '{"x":"bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq.rig1"}',
        '{"x":"pay 1BoatSLRHtKNngkdXEeobR76b53LETtpyT now"}',
        '{"x":"stratum+tcp://acme:hunter2@pool.example:3333"}',
        '{"x":"/q?token=abcdef&y=1"}',
        "Authorization: Bearer abcdef0123456789",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhY21lIn0.c2ln",
    ],
)
@pytest.mark.parametrize("key", [KEY, None])
def test_what_gives_itself_away_goes_wherever_it_stands(text: str, key: bytes | None) -> None:
    said = Redactor(key).text(text)
    for gone in ("me@farm", "ar0srrr7", "BoatSLR", "acme", "hunter2", "abcdef", "eyJhbGci"):
        assert gone not in said


def test_a_pool_keeps_its_host() -> None:
    assert redacted('{"URL":"stratum+tcp://acme:x9@pool.example:3333"}').endswith('@pool.example:3333"}')


def test_firmwares_own_notations_are_read() -> None:
    text = '{"MM ID0":"Ver[1566] DNA[0201000012ab] SSID[Home] PASS[x9y] SYSTEMSTATU[Work: In Work] MAC[c4082800a419]"}'
    said = redacted(text)
    assert not re.search(r"0201000012ab|Home|x9y|c4082800a419", said)
    assert "Ver[1566]" in said
    assert "SYSTEMSTATU[Work: In Work]" in said
    piped = redacted(b"STATUS=S,Msg=x|POOL=0,URL=stratum+tcp://p,User=acme.1,Pass=hunter2|\0")
    assert "acme" not in piped
    assert "hunter2" not in piped


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ('<input type="text" name="stratumPassword" size=8 value="hunter2">', "hunter2"),
        ("<INPUT NAME=wifi_ssid VALUE='FarmNet'>", "FarmNet"),
        ('<Password lang="en">hunter2</Password>', "hunter2"),
        ("<hostname>rig-77</hostname>", "rig-77"),
        ('{"bitmain-user":"alice.r1"}', "alice"),
        ('{"network":{"wifi_ap":"FarmNet","public_ip":"198.51.100.9"}}', "FarmNet"),
        ('{"network":{"public_ip":"203.0.114.9"}}', "203.0.114.9"),
    ],
)
def test_forms_and_further_spellings_are_read(page: str, told: str) -> None:
    said = Redactor(b"key of the run").text(page)
    assert told not in said
    assert said.count("<") == page.count("<")


def test_what_stands_between_tags_and_is_no_secret_stays() -> None:
    page = '<title>AxeOS</title><input name="pool_url" value="pool.example"><p class="user">12 TH/s</p>'
    assert Redactor(b"key of the run").text(page) == page


def test_a_document_inside_a_string_is_read() -> None:
    inner = json.dumps({"password": 'a "quoted" one', "mac": "C4:08:28:00:A4:19", "Type": "S19"})
    said = json.loads(redacted(json.dumps({"Msg": inner})))["Msg"]
    assert json.loads(said)["password"] == REDACTED
    assert json.loads(said)["Type"] == "S19"
    assert "C4:08" not in said


# --- the rest stays ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b'{"STATS":[{"a":1}{"b":nan}],}\x00\x00\n',
        b'[,{"x":"\xff\xfe"}]\r\n',
        b'{""temp0":1,"a":"b\tc',
        b"Socket connect failed: Connection refused\n",
        b"",
        b"\x00" * 8,
        b'{"a":[[[[[',
        b'"""""',
        b'\\"\\"',
    ],
)
def test_what_is_broken_stays_broken(raw: bytes) -> None:
    assert Redactor(KEY).redact(raw) == raw


@pytest.mark.parametrize(
    "raw",
    [
        b'{"password":"hunter2',
        b'{"a":"x,"password":"hunter2"}',
        b'{""password":"hunter2"}',
        b'["password":"hunter2"]',
        b"{'password': 'hunter2'}",
        b'{"password" :\n "hunter2\tx"}',
        b'{"passwords":["x","hunter2"]}',
        b'{"a":1"password":"hunter2""b":2}',
        b'\xff{"password":"\xe9hunter2"}\x00',
    ],
)
def test_a_secret_goes_out_of_a_broken_reply_too(raw: bytes) -> None:
    assert b"hunter2" not in Redactor(KEY).redact(raw)


@pytest.mark.parametrize("path", sorted(CAPTURES.glob("*/*.json")), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_a_recorded_reply_keeps_its_structure_and_every_number(path: Path) -> None:
    raw = path.read_bytes()
    before, after = json.loads(raw), json.loads(Redactor(KEY).redact(raw))
    assert skeleton(after) == skeleton(before)


def skeleton(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: skeleton(item) for key, item in value.items()}
    if isinstance(value, list):
        return [skeleton(item) for item in value]
    return "text" if isinstance(value, str) else value


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
NAMES = st.sampled_from(["STATUS", "Msg", "a b", "temp_chip1", "url", "list", "é", "SUMMARY"])
DOCUMENTS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
PLANTED = "Canary-7Zq9-plant"


@given(
    outer=DOCUMENTS,
    name=st.sampled_from(
        ["password", "pass", "token", "User", "serial_number", "hostname", "wifi_key", "ssid", "salt"]
    ),
    depth=st.integers(0, 4),
    is_ascii=st.booleans(),
    key=st.sampled_from([KEY, b"another"]),
)
def test_a_planted_value_is_found_wherever_it_is_planted(
    outer: Any, name: str, depth: int, is_ascii: bool, key: bytes
) -> None:
    document: Any = {"x": outer, name: PLANTED}
    for level in range(depth):
        document = [outer, document] if level % 2 else {"Msg": document, "y": outer}
    raw = json.dumps(document, ensure_ascii=is_ascii).encode()
    redactor = Redactor(key)
    once = redactor.redact(raw)
    assert PLANTED.encode() not in once
    assert redactor.redact(once) == once
    json.loads(once)


@given(DOCUMENTS)
def test_redacting_twice_changes_nothing_more(document: Any) -> None:
    redactor = Redactor(KEY)
    once = redactor.redact(json.dumps(document).encode())
    assert redactor.redact(once) == once


def test_another_run_gives_other_pseudonyms() -> None:
    text = '{"mac":"C4:08:28:00:A4:19","sn":"ABC123456"}'
    assert redacted(text) != redacted(text, b"another run")


def test_a_log_keeps_what_its_reader_needs_to_find_the_machine() -> None:
    line = "10.0.0.5 (C4:08:28:00:A4:19, serial: ABC123): unknown key: hashrate, password=hunter2, user=acme.1"
    assert Redactor().text(line) == (
        "10.0.0.5 (C4:08:28:00:A4:19, serial: ABC123): unknown key: hashrate, password=REDACTED, user=REDACTED"
    )


def test_the_operators_own_password_goes_wherever_it_stands() -> None:
    redactor = Redactor(KEY, known=['s3cr"t'])
    assert redactor.text('{"echo":"you said s3cr\\"t"}') == '{"echo":"you said REDACTED"}'
    assert redactor.text("GET /?p=s3cr%22t") == "GET /?p=REDACTED"


def test_the_kinds_that_went_are_counted_once_per_value() -> None:
    redactor = Redactor(KEY)
    redactor.redact(b'{"pools":[{"User":"a.1","Pass":"x"},{"User":"a.1","Pass":"y"}],"mac":"C4:08:28:00:A4:19"}')
    assert redactor.counts == {Kind.ACCOUNT: 1, Kind.SECRET: 2, Kind.MAC: 1}


@pytest.mark.parametrize(
    "piece", ['"', '\\"', '"\\"', "a:", "a[", '"a":', '["', '"a":["', "://a:", '"a":["x","', "1.", "a@b", "eyJ", "::"]
)
def test_no_pattern_goes_back_over_a_hostile_reply(piece: str) -> None:
    """One that did would need an hour for this, not a moment."""
    raw = piece.encode() * (128 * 1024 // len(piece))
    assert len(Redactor(KEY).redact(raw)) == len(raw)
