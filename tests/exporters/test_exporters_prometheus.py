"""The page as its readers see it: the golden text, the parser of prometheus_client, promtool."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, find_peer
from cycles import AT_S, NAN, make_cycle, small_cycle
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from exporters import metrics
from exporters.columns import Column
from exporters.labels import MAX_DISTINCT, capped
from exporters.metrics import Family, Kind, family, histogram
from exporters.prometheus import render, render_family
from exporters.wording import clean, colliding, topic_segments, unique_names
from fleet.curtailment import Action
from fleet.market import CrossCheck, InputState
from fleet.retarget import Outlook, Silence
from fleet.snapshot import MachineInfo, PduColumns
from fleet.tariff import PowerPrice

GOLDEN = Path(__file__).parent / "small_cycle.prom"


def page(cycle=None, now_s: float = AT_S, valid_until_s: float = AT_S + 120, extra=()) -> str:
    blocks = render(cycle or small_cycle(), now_s=now_s, lease_valid_until_s=valid_until_s, extra=extra)
    return b"".join(blocks).decode("utf-8")


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What prometheus_client reads out of a page."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for metric in text_string_to_metric_families(text)
        for sample in metric.samples
    }


def series(text: str, name: str) -> dict[str, float]:
    """Values of one family by machine."""
    return {dict(labels)["machine"]: value for (key, labels), value in samples(text).items() if key == name}


def test_the_page_of_a_small_farm_is_the_golden_one():
    assert page() == GOLDEN.read_text()


def test_each_tariff_has_its_price_and_state_and_one_without_a_price_has_no_series():
    gone = PowerPrice("gone", 0.07, "ercot:gone", InputState.STALE_HARD, AT_S - 3600)
    cycle = small_cycle()
    read = samples(page(replace(cycle, power=(*cycle.power, gone))))
    read = {key: value for key, value in read.items() if key[0].startswith("hashwatt_tariff_")}
    told = {
        (name.removeprefix("hashwatt_tariff_power_price_"), dict(labels)["tariff"]): value
        for (name, labels), value in read.items()
    }
    assert told == {
        ("usd_per_kilowatt_hour", "(site)"): 0.06, ("usd_per_kilowatt_hour", "hosted"): 0.07,
        ("as_of_timestamp_seconds", "hosted"): AT_S - 400, ("as_of_timestamp_seconds", "gone"): AT_S - 3600,
        ("state", "(site)"): 1.0, ("state", "hosted"): 1.0, ("state", "gone"): 1.0,
    }  # fmt: skip
    states = {dict(labels)["tariff"]: dict(labels)["state"] for name, labels in read if name.endswith("_state")}
    assert states == {"(site)": "fresh", "hosted": "stale_soft", "gone": "stale_hard"}


def test_the_join_is_told_once_for_every_machine_on_an_outlet_or_row():
    cycle = small_cycle()
    table = cycle.snapshot.pdus
    table.link_meter, table.link_machine = np.array([0, 0, 4, -1], np.int32), np.array([0, 1, 1, 2], np.int32)
    table.link_is_by_name = np.array([False, True, False, False])
    read = {name: [] for name in ("hashwatt_outlet_info", "hashwatt_pdu_row_info")}
    for (name, labels), _ in samples(page(cycle)).items():
        if name in read:
            read[name].append(tuple(value for key, value in sorted(labels) if key != "pdu"))
    # by, machine, name, outlet; and by, kind, machine, name, row
    assert sorted(read["hashwatt_outlet_info"]) == [
        ("", "", "Outlet 2", "2"), ("inventory", "a1", "a1", "1"), ("name", "b2", "a1", "1"),
    ]  # fmt: skip
    assert read["hashwatt_pdu_row_info"] == [("inventory", "bank", "b2", "left", "1")]


def test_the_join_is_told_anew_when_a_name_or_a_link_changes():
    cycle = small_cycle()
    before = page(cycle)
    cycle.snapshot.pdus.outlet_names = ("x", "y")
    named = page(cycle)
    cycle.snapshot.pdus.link_machine = np.array([2, 1], np.int32)
    linked = page(cycle)
    assert 'outlet="1",name="x",machine="a1",by="name"' in named
    assert 'outlet="1",name="x",machine="c3",by="name"' in linked
    assert 'outlet="1",name="a1",machine="a1",by="name"' in before


def test_a_pdu_that_never_answered_has_no_description():
    cycle = small_cycle()
    table = cycle.snapshot.pdus
    table.profiles = table.models = table.serials = table.names = table.engines = ("",)
    assert "hashwatt_pdu_info{" not in page(cycle)
    assert (
        'hashwatt_pdu_info{pdu="pdu-1",profile="apc_rpdu2",model="AP8853",serial="5A1234",name="rack \\"7\\"",'
        in page()
    )


def test_a_parser_of_the_format_reads_the_numbers_that_went_in():
    read = samples(page())
    assert read["hashwatt_machine_hashrate_hashes_per_second", frozenset({("machine", "a1")})] == 1.0e14
    assert read["hashwatt_machine_temperature_celsius",
                frozenset({("machine", "a1"), ("sensor", "chip"), ("index", "0")})] == 74.5  # fmt: skip
    assert read["hashwatt_pdu_energy_joules_total", frozenset({("pdu", "pdu-1")})] == 7.2e9
    assert read["hashwatt_merit_watts_bucket", frozenset({("le", "0.035")})] == 0
    assert read["hashwatt_merit_watts_bucket", frozenset({("le", "0.04")})] == 6650  # both break even below 4 cents
    assert read["hashwatt_merit_watts_sum", frozenset()] == pytest.approx(3250 * 0.0366 + 3400 * 0.0385)


def test_a_missing_number_has_no_series():
    text = page()
    assert "nan" not in text.lower()
    assert "null" not in text
    assert set(series(text, "hashwatt_machine_hashrate_hashes_per_second")) == {"a1", "b2"}
    assert series(text, "hashwatt_machine_up") == {"a1": 1, "b2": 1, "c3": 0}
    assert series(text, "hashwatt_machine_fault") == {"c3": 1}


def test_a_machine_that_was_never_polled_has_no_series_but_its_description():
    text = page(make_cycle(("new",)), valid_until_s=NAN)
    assert {name for name, labels in samples(text) if ("machine", "new") in labels} == {"hashwatt_machine_info"}


def test_a_power_source_without_power_is_not_told():
    cycle = make_cycle(("a",), snapshot={"power_source": [1]})
    assert series(page(cycle), "hashwatt_machine_power_source") == {}


@pytest.mark.parametrize("valid_until_s", [AT_S, AT_S - 1, NAN])
def test_advice_vanishes_with_its_lease(valid_until_s):
    names = {name for name, _ in samples(page(valid_until_s=valid_until_s))}
    assert "hashwatt_machine_recommended" not in names
    assert {name for name in names if name.startswith("hashwatt_curtailment")} <= {
        "hashwatt_curtailment_valid_until_timestamp_seconds"
    }


def test_an_alert_can_still_compare_the_end_of_the_lease_with_the_clock():
    read = samples(page(now_s=AT_S + 500))
    assert read["hashwatt_curtailment_valid_until_timestamp_seconds", frozenset()] == AT_S + 120


def test_only_running_and_priced_machines_are_in_the_merit_curve():
    watts = np.array([1000.0, 2000.0, 4000.0, 8000.0])
    cycle = make_cycle(
        ("run", "above", "unpriced", "stands"),
        snapshot={"is_running": [True, True, True, False]},
        economics={"power_w": watts, "breakeven_usd_kwh": [0.05, 0.3, NAN, 0.01]},
    )
    read = samples(page(cycle))
    assert read["hashwatt_merit_watts_bucket", frozenset({("le", "0.045")})] == 0
    assert read["hashwatt_merit_watts_bucket", frozenset({("le", "0.05")})] == 1000  # le: up to and including
    assert read["hashwatt_merit_watts_bucket", frozenset({("le", "0.2")})] == 1000
    assert read["hashwatt_merit_watts_bucket", frozenset({("le", "+Inf")})] == 3000
    assert read["hashwatt_merit_watts_count", frozenset()] == 3000


@given(
    ids=st.lists(st.text(st.characters(codec=None), max_size=150), min_size=1, max_size=5, unique=True),
    model=st.text(st.characters(codec=None), max_size=300),
)
def test_no_text_from_a_device_can_break_the_page(ids, model):
    infos = tuple(MachineInfo(model=model) for _ in ids)
    cycle = make_cycle(tuple(ids), snapshot={"up": np.ones(len(ids)), "infos": infos})
    read = samples(page(cycle))
    up = [labels for name, labels in read if name == "hashwatt_machine_up"]
    assert len(up) == len(ids), "two machines became one series"
    machines = {value for labels in up for label, value in labels if label == "machine"}
    assert machines == set(unique_names(tuple(ids)))
    told = {dict(labels)["model"] for name, labels in read if name == "hashwatt_machine_info"}
    assert told == {clean(model)}


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ('rack "7"', r'machine="rack \"7\""'),
        ("c:\\new", r'machine="c:\\new"'),
        ("two\nlines", 'machine="twolines"'),
        ("bell\x07\x1b[0m", 'machine="bell[0m"'),
        ("half\ud800pair", 'machine="halfpair"'),
        ("turned\u202eround\u2066\u200f", 'machine="turnedround"'),
        ("no\ufffe\uffffne", 'machine="none"'),
        ("x" * 200, f'machine="{"x" * 128}"'),
        ("é" * 100, f'machine="{"é" * 64}"'),
    ],
)
def test_labels_are_escaped_cleaned_and_bounded(text, printed):
    assert "{" + printed + "} 1.0\n" in page(make_cycle((text,), snapshot={"up": [1]}))


def test_a_pdu_that_numbers_two_outlets_alike_does_not_spoil_the_scrape():
    cycle = small_cycle()
    cycle.snapshot.pdus.outlet_ids = ("1", "1")
    on = {dict(labels)["outlet"]: value for (name, labels), value in samples(page(cycle)).items()
          if name == "hashwatt_outlet_on"}  # fmt: skip
    assert on == {"1": 1, "1~2": 0}


@pytest.mark.parametrize(
    "ids", [("1", "1\x00", "1~2"), ("1~2", "1", "1"), ("a" * 200, "a" * 201, "a" * 120 + "~2"), ("中" * 64 + ".1",) * 3]
)
def test_no_numbers_of_outlets_make_two_series_of_one_name(ids):
    cycle = make_cycle(("m",))
    pdus = PduColumns(
        ids=("p",),
        **dict.fromkeys(("up", "last_seen_s", "power_w", "energy_j", "temperature_c"), np.ones(1)),
        fault=np.zeros(1, np.uint8),
        profiles=("",),
        models=("",),
        outlet_pdu=np.zeros(3, np.int32),
        outlet_ids=ids,
        outlet_machine=np.full(3, -1, np.int32),
        outlet_power_w=np.ones(3),
        outlet_on=np.ones(3),
    )
    cycle = replace(cycle, snapshot=replace(cycle.snapshot, pdus=pdus))
    named = [
        line.split(b"} ")[0] for line in page(cycle).encode().splitlines() if line.startswith(b"hashwatt_outlet_p")
    ]
    assert len(set(named)) == 3


def test_machines_with_long_names_are_told_apart_on_the_page():
    text = page(make_cycle(("x" * 130, "x" * 131), snapshot={"up": [1, 1]}))
    assert len({line for line in text.splitlines() if line.startswith("hashwatt_machine_up{")}) == 2


def test_what_devices_say_of_themselves_does_not_grow_without_end():
    words = ["often", "often", *(f"model {i}" for i in range(10 * MAX_DISTINCT))]
    labels = capped(words)
    assert len(set(labels.values())) == MAX_DISTINCT + 1
    assert labels["often"] == b"often"


def test_the_agent_can_add_its_own_families():
    text = page(extra=[
        family(metrics.POLLS, {("antminer", "ok"): 7.0, ("antminer", "timeout"): 1.0}),
        histogram(metrics.POLL_DURATION, (0.1, 1.0), {("antminer",): ([2, 5, 1], 4.5)}),
    ])  # fmt: skip
    read = samples(text)
    assert read["hashwatt_polls_total", frozenset({("driver", "antminer"), ("outcome", "timeout")})] == 1
    buckets = {bound: read["hashwatt_poll_duration_seconds_bucket", frozenset({("driver", "antminer"), ("le", bound)})]
               for bound in ("0.1", "1", "+Inf")}  # fmt: skip
    assert buckets == {"0.1": 2, "1": 7, "+Inf": 8}
    assert read["hashwatt_poll_duration_seconds_sum", frozenset({("driver", "antminer")})] == 4.5
    assert read["hashwatt_poll_duration_seconds_count", frozenset({("driver", "antminer")})] == 8


def test_infinity_is_as_missing_as_nan():
    column = Column([b'{machine="a"', b'{machine="b"'], np.array([np.inf, 2.0]))
    assert b"".join(render_family(Family(metrics.MACHINE_UP, [column]))).splitlines()[2:] == [
        b'hashwatt_machine_up{machine="b"} 2.0'
    ]


def test_the_description_follows_a_new_reading_and_a_new_site():
    cycle = small_cycle()
    later = replace(
        cycle, snapshot=replace(cycle.snapshot, infos=(MachineInfo(model="S21"), *cycle.snapshot.infos[1:]))
    )
    assert 'model="S19j Pro"' in page(cycle)
    assert 'model="S21"' in page(later)


def test_a_silent_outlook_has_reasons_instead_of_numbers():
    quiet = Outlook(Silence.EARLY, Silence.EARLY, Silence.MISSING, -0.08)
    read = {
        (name, tuple(sorted(labels))): value
        for (name, labels), value in samples(page(make_cycle(("a",), outlook=quiet))).items()
        if any(word in name for word in ("_next_", "retarget", "_network_hashrate_", "_lag_ratio", "outlook"))
    }
    assert read == {
        ("hashwatt_network_difficulty_lag_ratio", ()): -0.08,
        ("hashwatt_outlook_silent", (("part", "drawdown"), ("reason", "missing"))): 1,
        ("hashwatt_outlook_silent", (("part", "forecast"), ("reason", "early"))): 1,
        ("hashwatt_outlook_silent", (("part", "hashprice"), ("reason", "early"))): 1,
    }


# --- names -------------------------------------------------------------------------------------------------------


def test_every_name_follows_the_rules_of_the_house():
    names = [row.name for row in metrics.TABLE]
    assert len(set(names)) == len(names)
    for row in metrics.TABLE:
        ending = ("_" + row.unit if row.unit else "") + ("_total" if row.kind is Kind.COUNTER else "")
        assert row.name.startswith("hashwatt_"), row.name
        assert row.name.endswith(ending), row.name
        assert row.help.endswith("."), row.name
        assert "\n" not in row.help, row.name
        assert "\\" not in row.help, row.name


DESIGN = """
machine_up machine_hashrate_hashes_per_second machine_expected_hashrate_hashes_per_second machine_power_watts
machine_metered_power_watts machine_reported_power_watts machine_power_source machine_temperature_celsius
machine_fan_speed_rpm machine_revenue_usd_per_hour machine_energy_cost_usd_per_hour machine_margin_usd_per_hour
machine_margin_error_usd_per_hour machine_breakeven_usd_per_kilowatt_hour machine_recommended
machine_last_seen_timestamp_seconds pdu_up pdu_power_watts pdu_energy_joules_total outlet_power_watts outlet_on
pdu_temperature_celsius hashprice_usd_per_petahash_day btc_usd network_difficulty quote_as_of_timestamp_seconds
network_difficulty_next_change_ratio network_difficulty_next_change_stddev network_retarget_timestamp_seconds
power_price_usd_per_kilowatt_hour curtailment_recommended_shed_watts curtailment_status curtailment_mode
curtailment_valid_until_timestamp_seconds merit_watts poll_duration_seconds polls_total
""".split()  # noqa: SIM905  thirty quoted lines say no more


def test_the_families_that_others_rely_on_keep_their_names():
    assert {f"hashwatt_{name}" for name in DESIGN} <= {row.name for row in metrics.TABLE}


def test_the_page_of_metrics_in_the_docs_is_current():
    assert (ROOT / "docs" / "metrics.md").read_text() == metrics.markdown(), (
        "write it anew: python -c 'from exporters.metrics import *; print(markdown(), end=str())' > docs/metrics.md"
    )


@pytest.mark.peer("promtool")
def test_promtool_finds_nothing_to_say():
    own = [family(row, {("x",) * len(row.labels): 1.0}) for row in metrics.TABLE
           if row.columns is None and row.kind is not Kind.HISTOGRAM]  # fmt: skip
    own += [histogram(row, (1.0, 2.0), {("x",) * len(row.labels): ([1, 2, 3], 9.0)}) for row in metrics.TABLE
            if row.columns is None and row.kind is Kind.HISTOGRAM]  # fmt: skip
    check = subprocess.run(
        [find_peer("promtool") or "promtool", "check", "metrics"],
        input=page(extra=own), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (check.returncode, check.stdout + check.stderr) == (0, "")


# --- names of rows -----------------------------------------------------------------------------------------------


def test_ids_that_would_share_a_topic_are_told_apart_and_named():
    ids = ("rack/1", "rack 1", "rack-2", "rack/1 ")
    levels = topic_segments(ids)
    assert len(set(levels)) == 4
    assert levels[0] == "rack-1"
    assert all(
        set(level) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") for level in levels
    )
    assert colliding(ids) == ("rack/1", "rack 1")


@given(st.lists(st.text(st.characters(codec=None), max_size=150), max_size=8, unique=True), st.integers(0, 8))
def test_rows_keep_their_names_when_machines_are_added_behind(ids, known):
    names = unique_names(tuple(ids))
    assert len(set(names)) == len(ids)
    assert unique_names(tuple(ids[:known])) == names[:known]


def test_every_action_has_a_label():
    n = len(Action)
    cycle = make_cycle(tuple(f"m{i}" for i in range(n)), decision={"action": list(Action)})
    told = {dict(labels)["action"] for name, labels in samples(page(cycle)) if name == "hashwatt_machine_recommended"}
    assert told == {"run", "stop", "preset", "hold"}


def test_a_published_hashprice_has_series_only_where_somebody_publishes_one():
    valuation = small_cycle().valuation
    check = CrossCheck(30.0, 0.05, 60.0, InputState.FRESH, "luxor")
    told = samples(page(replace(small_cycle(), valuation=replace(valuation, cross_check=check, btc_usd_raw=70_010.0))))
    source = frozenset({("source", "luxor"), ("state", "fresh")})
    assert told["hashwatt_published_hashprice_usd_per_petahash_day", source] == 30.0
    assert told["hashwatt_published_hashprice_difference_ratio", frozenset()] == 0.05
    assert told["hashwatt_published_hashprice_alarm", frozenset()] == 1.0
    assert told["hashwatt_raw_btc_usd", frozenset()] == 70_010.0
    assert "published" not in page()
