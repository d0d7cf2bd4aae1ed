"""Presets as firmware lists them: what is taken of a list, how rarely it is asked for, and that it costs nothing else.

The lists of LuxOS and ePIC are recorded ones (tests/captures/miners); nobody has recorded a VNish, so its list is made
by hand in the shapes that public readers take.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from honesty import assert_honest
from hostile.machines import encoded, machine
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_miner import CAPTURES, Answer, Flood, Hang, Reset, captured, refuse, scripted_miner, wire
from scripted_pages import page, scripted_pages

from collectors.captures import load
from collectors.miners import evidence, hearing, luxos, makes, native, vnish
from collectors.miners.line import Line
from collectors.miners.make import Via, When
from collectors.miners.native import NativeMiner
from collectors.miners.presets import MAX_NAME_CHARS, MAX_PRESETS
from fleet.ports import PollError
from fleet.presets import tabulate
from fleet.readings import MinerReading, Preset
from hil.replay import ReplayedMachine

LUXOS = "luxos-2025.4"
ASKING = [key for key in makes.KEYS if any(ask.when is When.RARE for ask in makes.make_of(key).asks)]
QUESTION = {"luxos": "profiles", "vnish": "presets", "epic": "presets"}


def rare(key: str) -> list[Any]:
    return [ask for ask in makes.make_of(key).asks if ask.when is When.RARE]


def told(key: str, answer: bytes | None = None) -> MinerReading:
    """The reading of a healthy machine of this make, whose list of presets is `answer`; None = not asked for."""
    replies = {name: encoded(reply) for name, reply in machine(key).replies.items() if name != QUESTION[key]}
    if answer is not None:
        replies[QUESTION[key]] = answer
    make = makes.make_of(key)
    said = hearing.said_from(make, replies)
    return replace(make.read(said), warnings=())


# --- what a list says ------------------------------------------------------------------------------------------------


def test_the_recorded_list_of_luxos_makes_a_curve() -> None:
    """Its own steps, as if all were tuned: from 190 to 215 MHz 95 W for 5.2 TH/s, from 765 to 790 MHz 190 W for 5.2."""
    listed = told("luxos", (CAPTURES / LUXOS / "profiles.json").read_bytes()).presets
    assert [preset.name for preset in listed if preset.is_tuned] == ["290MHz"]
    marginal = tabulate([tuple(replace(preset, is_tuned=True) for preset in listed)]).marginal_j_per_th[0]
    assert marginal[-1] == pytest.approx(190 / 5.2)
    assert 18.0 < marginal[1:][marginal[1:] > 0].min() < 19.0


def test_a_profile_that_does_not_say_that_it_is_tuned_is_not() -> None:
    rows = [{"Profile Name": "a", "Hashrate": 100, "Watts": 3000}, {"Hashrate": "104", "Watts": "3,100 W"}]
    listed = told("luxos", json.dumps({"STATUS": [{"STATUS": "S"}], "PROFILES": rows}).encode()).presets
    assert listed == (Preset("a", 100e12, 3000.0, is_tuned=False), Preset(None, 104e12, 3100.0, is_tuned=False))


def vnish_list(*lines: tuple[str, str, str]) -> list[dict[str, Any]]:
    keys = ("name", "pretty", "status")
    return [dict(zip(keys, line, strict=True)) | {"modded_psu_required": False} for line in lines]


VNISH = vnish_list(
    ("disabled", "Disabled", "untuned"),
    ("2700", "2700 watt ~ 97 TH", "tuned"),
    ("3050", "3050 watt ~ 104 TH LC", "tuned"),
    ("3400", "3400 watt ~ 111.5 TH/s", "untuned"),
    ("scrypt", "3400 watt ~ 9500 MH", "tuned"),
)
VNISH_PRESETS = (
    Preset("2700", 97e12, 2700.0, is_tuned=True),
    Preset("3050", 104e12, 3050.0, is_tuned=True),
    Preset("3400", 111.5e12, 3400.0, is_tuned=False),
)


@pytest.mark.parametrize("answer", [VNISH, {"presets": VNISH}], ids=["bare", "wrapped"])
def test_the_list_of_vnish_is_in_its_words(answer: object) -> None:
    assert told("vnish", json.dumps(answer).encode()).presets == VNISH_PRESETS


def test_epic_offers_what_no_name_and_no_tuning_belongs_to() -> None:
    answer = (CAPTURES / "epic-powerplay-1.5" / "capabilities.json").read_bytes()
    listed = told("epic", answer).presets
    assert (listed[0], len(listed)) == (Preset(None, 80e12, 1700.0, is_tuned=None), 6)


# --- lists that no honest firmware sends -----------------------------------------------------------------------------


def luxos_row(**changes: Any) -> dict[str, Any]:
    return {"Profile Name": "p", "Hashrate": 100.0, "Watts": 3000, "IsTuned": True} | changes


def luxos_rows(*rows: Any) -> bytes:
    return json.dumps({"STATUS": [{"STATUS": "S"}], "PROFILES": list(rows)}).encode()


def vnish_row(pretty: Any, name: Any = "p", status: Any = "tuned") -> dict[str, Any]:
    return {"name": name, "pretty": pretty, "status": status}


def epic_rows(rows: Any) -> bytes:
    return json.dumps({"Model": "AntMiner S19 XP", "Tune Presets": rows}).encode()


NOTHING: list[tuple[str, str, bytes]] = [
    *(
        ("luxos", name, luxos_rows(luxos_row(**changes)))
        for name, changes in (
            ("negative-rate", {"Hashrate": -100.0}),
            ("negative-watts", {"Watts": -3000}),
            ("zero", {"Hashrate": 0, "Watts": 0}),
            ("words", {"Hashrate": "lots", "Watts": "few"}),
            ("nan-as-text", {"Hashrate": "nan", "Watts": "inf"}),
            ("null", {"Hashrate": None, "Watts": None}),
            ("true", {"Hashrate": True, "Watts": True}),
            ("nested", {"Hashrate": {"value": 100}, "Watts": [3000]}),
            ("gigahash", {"Hashrate": 100_000.0}),
            ("kilowatts", {"Watts": 3}),
            ("milliwatts", {"Watts": 3_000_000}),
            ("too-good", {"Watts": 250}),
            ("a-container", {"Hashrate": 2000.0, "Watts": 60_000}),
            ("a-stick", {"Hashrate": 0.2, "Watts": 5}),
            ("a-hall", {"Hashrate": 6000.0, "Watts": 25_000}),
            ("huge", {"Hashrate": 1e308, "Watts": 1e308}),
        )
    ),
    ("luxos", "empty", luxos_rows()),
    ("luxos", "missing", b'{"STATUS":[{"STATUS":"S"}],"id":1}'),
    ("luxos", "of-lists", luxos_rows([luxos_row()], [[luxos_row()]])),
    ("luxos", "of-null", luxos_rows(None, None)),
    ("luxos", "an-object", b'{"STATUS":[{"STATUS":"S"}],"PROFILES":{"a":{"b":1}}}'),
    ("luxos", "a-number", b'{"STATUS":[{"STATUS":"S"}],"PROFILES":7}'),
    ("luxos", "bare-nan", luxos_rows(luxos_row()).replace(b"100.0", b"nan")),
    ("luxos", "ten-thousand", luxos_rows(*(luxos_row(**{"Profile Name": str(i)}) for i in range(10_000)))),
    ("luxos", "deep", b"[" * 5000),
    ("luxos", "refused", refuse(14, "Invalid command")),
    ("luxos", "not-json", b"<html>"),
    ("luxos", "nothing", b""),
    *(
        ("vnish", f"pretty-{number}", json.dumps([vnish_row(pretty)]).encode())
        for number, pretty in enumerate(
            (
                None, 7, "", "~", "Disabled", "3050 watt", "104 TH", "watt ~ TH", "-3050 watt ~ 104 TH",
                "3050 watt ~ -104 TH", "3050 watt ~ nan TH", "3050 watt ~ 104 GH", "3.0.5 watt ~ 104 TH",
                "1e3 watt ~ 104 TH", "3050 watt ~ 104 TH" * 200, {"watt": 3050}, ["3050 watt ~ 104 TH"],
                "30500000 watt ~ 104 TH", "9 watt ~ 1 TH", "\u0663\u0660\u0665\u0660 watt ~ 104 TH",
            )
        )
    ),
    ("vnish", "empty", b"[]"),
    ("vnish", "empty-wrapped", b'{"presets":[]}'),
    ("vnish", "nested", json.dumps({"presets": {"presets": [vnish_row("3050 watt ~ 104 TH")]}}).encode()),
    ("vnish", "of-texts", b'["3050 watt ~ 104 TH"]'),
    ("vnish", "null", b"null"),
    ("vnish", "a-page", b"<html>404</html>"),
    ("epic", "none", epic_rows(None)),
    ("epic", "an-object", epic_rows({"hashrate": 100, "power": 3000})),
    ("epic", "without-numbers", epic_rows([{"clk": 1}] * 3000)),
    ("epic", "swapped", epic_rows([{"hashrate": 3000.0, "power": 100}])),
]  # fmt: skip


def test_the_shapes_have_each_a_name() -> None:
    assert len({(key, name) for key, name, _ in NOTHING}) == len(NOTHING)


@pytest.mark.parametrize(("key", "answer"), [pytest.param(k, a, id=f"{k}-{name}") for k, name, a in NOTHING])
def test_a_list_without_sense_is_no_list_and_changes_nothing_else(key: str, answer: bytes) -> None:
    reading = told(key, answer)
    assert reading == told(key)
    assert reading.presets == ()


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        ([luxos_row(**{"Profile Name": str(i)}) for i in range(500)], [str(i) for i in range(MAX_PRESETS)]),
        ([luxos_row(Watts=watts) for watts in (3000, 3100, 3200)], ["p"]),  # one name, three opinions: the first
        ([luxos_row(**{"Profile Name": name}) for name in (None, "", " ", "\x00\x1b", [1], {})], [None]),
        ([luxos_row(**{"Profile Name": "A" * 5000})], ["A" * MAX_NAME_CHARS]),
        ([luxos_row(**{"Profile Name": "a\x1b[31mb\nc"})], ["a[31mbc"]),
        ([luxos_row(**{"Profile Name": 7}), luxos_row(Hashrate=-1)], ["7"]),
    ],
    ids=["many", "one name", "no name", "long", "control characters", "a number, and a bad one"],
)  # fmt: skip
def test_what_is_kept_of_a_list_is_bounded_and_can_be_told(rows: list[Any], names: list[str | None]) -> None:
    reading = told("luxos", luxos_rows(*rows))
    assert [preset.name for preset in reading.presets] == names
    assert_honest(reading)


def test_presets_of_equal_rate_are_told_and_only_one_is_a_step() -> None:
    rows = [luxos_row(**{"Profile Name": str(watts), "Watts": watts}) for watts in (3000, 3100, 2900)]
    listed = told("luxos", luxos_rows(*rows, luxos_row(Hashrate=110.0, Watts=3400))).presets
    marginal = tabulate([listed]).marginal_j_per_th[0].tolist()
    assert marginal[:3] == pytest.approx([float("nan")] * 3, nan_ok=True)
    assert marginal[3] == pytest.approx(50.0)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.just("3050 watt ~ 104 TH"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["PROFILES", "presets", "Tune Presets", "Profile Name", "Hashrate", "Watts", "IsTuned",
                             "name", "pretty", "status", "hashrate", "power", "x"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=30,
)  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(QUESTION)), anything)
def test_whatever_is_listed_the_reading_is_honest_and_otherwise_the_same(key: str, answer: Any) -> None:
    reading = told(key, json.dumps(answer).encode())
    assert_honest(reading)
    assert replace(reading, presets=()) == told(key)
    for preset in reading.presets:
        assert evidence.positive(preset.power_w)
        assert 3.0 <= preset.power_w / preset.hashrate_hs * 1e12 <= 500.0


# --- how it is asked -------------------------------------------------------------------------------------------------


def test_who_is_asked() -> None:
    assert sorted(ASKING) == sorted(QUESTION)


@pytest.mark.parametrize("key", ASKING)
def test_the_question_only_reads_and_can_cost_no_other(key: str) -> None:
    (ask,) = rare(key)
    assert ask is makes.make_of(key).asks[-1]
    assert not ask.is_needed
    assert not ask.joins
    assert ask.digest is not None
    if ask.via is Via.RPC:
        assert ask.request == b'{"command":"profiles"}'
    else:
        assert (ask.via, ask.body) == (Via.HTTP, None)


def luxos_answers(profiles: Answer) -> dict[str, Answer]:
    names = ("summary", "power", "config", "devs", "fans", "pools", "version")
    said: dict[str, Any] = {name: captured(LUXOS, name) for name in names}
    joined = wire({name: [reply] for name, reply in said.items()} | {"id": 1})
    return {"version": wire(said["version"]), "profiles": profiles, "*": joined}


async def luxos_looks(count: int, profiles: Answer, deadline_s: float = 30.0) -> tuple[list[MinerReading], list[str]]:
    async with scripted_miner(luxos_answers(profiles)) as server:
        miner = NativeMiner(Line(server.host, {4028: server.port}), deadline_s)
        readings = [await miner.read() for _ in range(count)]
    return readings, server.asked


async def test_it_is_asked_once_and_told_once() -> None:
    readings, asked = await luxos_looks(21, wire(captured(LUXOS, "profiles")))
    assert [len(reading.presets) for reading in readings] == [25] + [0] * 20
    assert asked.count("profiles") == 1
    assert asked.index("profiles") == 2  # behind everything else of the first look


async def test_and_again_after_a_few_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 2 * 3600 <= native.RARE_S <= 12 * 3600
    monkeypatch.setattr(native, "RARE_S", 0.0)  # as if those hours had passed
    readings, _ = await luxos_looks(21, wire(captured(LUXOS, "profiles")))
    assert [place for place, reading in enumerate(readings) if reading.presets] == [0, 10, 20]


@pytest.mark.parametrize(
    "answer",
    [b"", refuse(14, "Invalid command"), b"<html>\0", Reset(), Flood(b'{"PROFILES":[{"a":1},'), Hang()],
    ids=["nothing", "refused", "garbage", "reset", "endless", "hangs"],
)
async def test_a_list_that_does_not_come_costs_the_look_nothing_and_is_left_for_hours(answer: Answer) -> None:
    good, _ = await luxos_looks(1, wire(captured(LUXOS, "profiles")))
    readings, asked = await luxos_looks(11, answer, deadline_s=2.0 if isinstance(answer, Hang) else 30.0)
    assert asked.count("profiles") == 1
    assert [reading.presets for reading in readings] == [()] * 11
    first = replace(readings[0], presets=good[0].presets, slow_age_s=None)
    assert first == replace(good[0], slow_age_s=None)


async def test_another_machine_and_one_that_started_again_are_asked_anew() -> None:
    async with scripted_miner(luxos_answers(wire(captured(LUXOS, "profiles")))) as server:
        miner = NativeMiner(Line(server.host, {4028: server.port}), 30.0)
        await miner.read()
        whole = json.loads(cast(bytes, server.answers["*"]).rstrip(b"\0"))
        whole["summary"] = [{"STATUS": [{"STATUS": "S"}], "SUMMARY": [{"Elapsed": 10, "GHS 5s": 1.0}]}]
        server.answers["*"] = wire(whole)
        assert (await miner.read()).presets  # it has started again
        assert not (await miner.read()).presets
    assert server.asked.count("profiles") == 2


async def test_a_machine_that_was_away_for_a_look_is_not_asked_anew() -> None:
    answers = luxos_answers(wire(captured(LUXOS, "profiles")))
    async with scripted_miner(answers) as before:
        miner = NativeMiner(Line(before.host, {4028: before.port}), 30.0)
        assert (await miner.read()).presets
    with pytest.raises(PollError, match="refused"):
        await miner.read()
    async with scripted_miner(answers, port=before.port) as after:
        assert (await miner.read()).presets == ()
    assert "profiles" not in after.asked


async def test_vnish_over_a_socket() -> None:
    said = {"summary": "summary", "info": "info", "perf_summary": "perf-summary"}
    pages = {f"/api/v1/{path}": page(encoded(machine("vnish").replies[name])) for name, path in said.items()}
    pages["/api/v1/autotune/presets"] = page(json.dumps(VNISH).encode())
    async with scripted_pages(pages) as web:
        miner = NativeMiner(Line(web.host, {80: web.port}), 30.0, "vnish")
        first, second = await miner.read(), await miner.read()
    assert (first.presets, first.mode, second.presets) == (VNISH_PRESETS, "3250", ())
    assert {asked.method for asked in web.asked} == {"GET"}


async def test_a_recorded_machine_of_the_virtual_farm_tells_its_presets() -> None:
    async with ReplayedMachine(load(Path(CAPTURES / LUXOS)), "127.0.0.1", {4028: 0}) as farm:
        miner = NativeMiner(Line("127.0.0.1", {4028: farm.at[4028]}), 30.0)
        reading = await miner.read()
    assert (len(reading.presets), reading.mode) == (25, "290MHz")


def test_the_makes_are_the_ones_that_are_named_here() -> None:
    assert luxos.MAKE.asks[-1].name == QUESTION["luxos"]
    assert vnish.MAKE.asks[-1].name == QUESTION["vnish"]
