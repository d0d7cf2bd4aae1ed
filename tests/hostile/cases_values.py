"""Well-formed JSON with values that are no values: numbers as text, sentinels, units, shapes, names."""

from __future__ import annotations

import json
from typing import Any

from fleet.readings import FaultKind
from hostile.cases import Case, Edit, drop, fails, put, reads, swap, told
from hostile.losses import loses

MALFORMED = FaultKind.MALFORMED
_NO_WATTS = dict.fromkeys(("reported_power_w", "power_side", "power_key"))


def _money(hs: float | None, window_s: float | None, key: str | None) -> dict[str, Any]:
    return {"hashrate_hs": hs, "hashrate_window_s": window_s, "hashrate_key": key}


# --- 16: numbers as texts: converted; an empty text is missing ---


def in_words(name: str, before: str = "", after: str = "") -> Edit:
    """Every number of a reply as a text."""

    def spoken(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: spoken(item) for key, item in value.items()}
        if isinstance(value, list):
            return [spoken(item) for item in value]
        return f"{before}{value}{after}" if isinstance(value, int | float) and not isinstance(value, bool) else value

    def apply(raw: bytes) -> bytes:
        return json.dumps(spoken(json.loads(raw))).encode()

    return Edit(name, apply)


_SPOKEN: tuple[tuple[str, str, str, str], ...] = (
    ("antminer", "summary", "", ""),
    ("antminer", "stats", "  ", ""),
    ("hiveon", "stats", "", " "),
    ("whatsminer", "summary", "", ""),
    ("whatsminer", "devs", "  ", "  "),
    ("avalon", "summary", "", ""),
    ("luxos", "summary", "", ""),
    ("luxos", "devs", " ", ""),
    ("luxos", "power", "", "\t"),
    ("braiins", "summary", "", ""),
    ("braiins", "temps", "", ""),
    ("braiins", "tunerstatus", " ", ""),
    ("braiins_rest", "miner_stats", "", ""),
    ("braiins_rest", "cooling_state", "", ""),
    ("vnish", "summary", "", ""),
    ("mara", "brief", "", ""),
    ("mara", "hashboards", "", " "),
    ("epic", "summary", "", ""),
    ("epic", "temps", "", ""),
    ("auradine", "summary", "", ""),
    ("auradine", "devs", "", ""),
    ("sealminer", "stats", "", ""),
    ("sealminer", "summary", "  ", ""),
    ("axeos", "system_info", "", ""),
    ("proto", "mining", "", ""),
    ("proto", "telemetry_full", "", ""),
    ("elphapex", "stats", "", ""),
    ("elphapex", "summary", "", ""),
    ("whatsminer_v3", "get_miner_status_summary", "", ""),
)

_EMPTY: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("antminer", "summary SUMMARY.0.Accepted", {"shares_accepted": None}),
    ("antminer", "stats STATS.1.total_rateideal", {"hashrate_expected_hs": None}),
    ("hiveon", "stats STATS.1.chain_power", _NO_WATTS),
    ("whatsminer", "summary SUMMARY.0.Factory GHS", {"hashrate_expected_hs": 65_362_500e6}),  # "Target MHS"
    ("whatsminer", "summary SUMMARY.0.Power Limit", {"power_limit_w": None}),
    ("whatsminer_v3", "get_miner_status_summary msg.summary.hash-15min", _money(171.2e12, 60.0, "hash-1min")),
    ("avalon", "summary SUMMARY.0.Difficulty Accepted", {"difficulty_accepted": None}),
    ("luxos", "summary SUMMARY.0.GHS 5s", {"hashrate_now_hs": None}),
    ("luxos", "config CONFIG.0.SerialNumber", {"serial": None}),
    ("braiins", "tunerstatus TUNERSTATUS.0.PowerLimit", {"power_limit_w": None}),
    ("braiins_rest", "miner_stats pool_stats.rejected_shares", {"shares_rejected": None}),
    ("vnish", "info serial", {"serial": None}),
    ("mara", "brief hashrate_ideal", {"hashrate_expected_hs": None}),
    ("epic", "summary Session.Accepted", {"shares_accepted": None}),
    ("auradine", "summary SUMMARY.0.Rejected", {"shares_rejected": None}),
    ("sealminer", "stats STATS.0.Power Limit", {"power_limit_w": None}),
    ("axeos", "system_info sharesAccepted", {"shares_accepted": None}),
    ("proto", "mining mining-status.ideal_hashrate_ghs", {"hashrate_expected_hs": None}),
    ("elphapex", "get_power power_output", _NO_WATTS),
)

_SERIALS = (
    ("whatsminer", "get_miner_info Msg.minersn"), ("whatsminer_v3", "get_device_info msg.miner.miner-sn"),
    ("luxos", "config CONFIG.0.SerialNumber"), ("braiins_rest", "miner_details serial_number"),
    ("vnish", "info serial"), ("epic", "capabilities Control Board Version.cpuSerial"),
    ("sealminer", "stats STATS.0.Ctrl Board SN"),
    ("axeos", "system_info sn_str"), ("proto", "system system-info.cb_sn"), ("elphapex", "stats INFO.dev_sn"),
    ("antminer_web", "get_system_info serinum"),
)  # fmt: skip

SPOKEN = [
    # the same words on every machine where none was burned in: they name nobody
    *(
        reads(f"serial-{word.strip() or 'none'}", 16, machine, put(where, word), serial=None)
        for machine, where in _SERIALS
        for word in ("N/A", "unknow", "00000000", "no sn on board")
    ),
    *(
        reads(f"{name}-{len(before)}-{len(after)}", 16, machine, in_words(name, before, after))
        for machine, name, before, after in _SPOKEN
    ),
    *(
        reads(f"empty-{where.rpartition('.')[2]}", 16, machine, put(where, ""), **wanted)
        for machine, where, wanted in _EMPTY
    ),
    reads("blank", 16, "whatsminer", put("summary SUMMARY.0.Stale", "   "), shares_stale=None),
    reads("dash", 16, "luxos", put("summary SUMMARY.0.Stale", "-"), shares_stale=None),
    reads("words", 16, "auradine", put("mode Mode.0.Ths", "N/A"), hashrate_expected_hs=None),
    reads("plus", 16, "sealminer", put("summary SUMMARY.0.Accepted", "+1421")),
    reads("exponent", 16, "vnish", put("summary miner.hr_realtime", "1.0950075e5")),
    reads("hex", 16, "axeos", put("system_info power", "0x10"), **_NO_WATTS),
    reads(
        "other-digits",
        16,
        "proto",
        put("mining mining-status.power_target_watts", "\u0663\u0664\u0660\u0660"),
        power_limit_w=None,
    ),
    reads(
        "two-points",
        16,
        "braiins",
        put("summary SUMMARY.0.MHS 5m", "206.200.000"),
        **_money(206_300_000.5e6, 900.0, "MHS 15m"),
    ),
]


# --- 17: commas between thousands: only where they group strictly ---

THOUSANDS = [
    reads("rate", 17, "antminer", put("summary SUMMARY.0.GHS 30m", "111,878.26")),
    reads("board", 17, "antminer", put("stats STATS.1.total_rateideal", "110,000.0")),
    reads("watts", 17, "hiveon", put("stats STATS.1.chain_power", "3,250 W")),
    reads("factory", 17, "whatsminer", put("summary SUMMARY.0.Factory GHS", "68,796")),
    reads("difficulty", 17, "luxos", put("summary SUMMARY.0.Difficulty Accepted", "42,323,968")),
    reads("watts", 17, "sealminer", put("stats STATS.0.PSU Input Power", "3,504")),
    reads("rate", 17, "vnish", put("summary miner.hr_realtime", "109,500.75")),
    reads("fan", 17, "braiins", put("fans FANS.0.RPM", "6,000")),
    # no grouping: who knows what is meant
    reads("one-digit", 17, "antminer", put("summary SUMMARY.0.Accepted", "4,0"), shares_accepted=None),
    reads("two-digits", 17, "hiveon", put("stats STATS.1.chain_power", "32,50"), **_NO_WATTS),
    reads("four-digits", 17, "luxos", put("power POWER.0.Watts", "1,0510"), **_NO_WATTS),
    reads("four-before", 17, "whatsminer", put("summary SUMMARY.0.Power Limit", "3500,000"), power_limit_w=None),
    reads("doubled", 17, "auradine", put("summary SUMMARY.0.Accepted", "3,,310"), shares_accepted=None),
    reads("at-the-end", 17, "avalon", put("summary SUMMARY.0.Accepted", "148,"), shares_accepted=None),
    reads("at-the-start", 17, "proto", put("mining mining-status.power_target_watts", ",400"), power_limit_w=None),
    reads("decimal", 17, "epic", put("summary Power Supply Stats.Input Power", "2.166,62"), **_NO_WATTS),
]


# --- 18: numbers with units: read where the unit does not scale them, else missing ---

UNITS = [
    reads("tight", 18, "hiveon", put("stats STATS.1.chain_power", "3250W")),
    reads("blanks", 18, "hiveon", put("stats STATS.1.chain_power", "  3250   W ")),
    reads("lower", 18, "hiveon", put("stats STATS.1.chain_power", "3250 w")),
    reads("kilo", 18, "hiveon", put("stats STATS.1.chain_power", "3.25 kW"), **_NO_WATTS),
    reads("power", 18, "whatsminer", put("summary SUMMARY.0.Power", "3417W")),
    reads("celsius", 18, "whatsminer", put("devs DEVS.0.Temperature", "70.0\u00b0C")),
    reads("percent-of-nothing", 18, "avalon", swap("estats", b"FanR[72%]", b"FanR[0%]")),
    reads("tight", 18, "auradine", put("psu PSU.0.PowerIn", "58.94 W")),
    reads(
        "output",
        18,
        "auradine",
        put("psu PSU.0.PowerOut", "52.10W"),
        dc_power_w=52.1,
        without=("supply_contradicts_hashrate",),
    ),
    reads(
        "milli",
        18,
        "auradine",
        put("psu PSU.0.PowerIn", "58940mW"),
        **_NO_WATTS,
        without=("supply_contradicts_hashrate",),
    ),
    reads("rpm", 18, "luxos", put("fans FANS.0.RPM", "1920 RPM")),
    reads("seconds", 18, "sealminer", put("stats STATS.0.Elapsed", "2481s")),
    reads("power", 18, "axeos", put("system_info power", "2.65000009536743 W")),
    reads("celsius", 18, "braiins", put("temps TEMPS.0.Board", "51.5 C")),
    reads("power", 18, "elphapex", put("get_power power_output", "25W")),
    reads("power", 18, "mara", put("brief power_consumption_estimated", "3010.5 W")),
    reads("kilo", 18, "luxos", put("summary SUMMARY.0.Accepted", "1K"), shares_accepted=None),
    reads("mega", 18, "proto", put("mining mining-status.ideal_hashrate_ghs", "145M"), hashrate_expected_hs=None),
    reads(
        "rest",
        18,
        "vnish",
        put("summary miner.power_consumption", "3240 W (est)"),
        **_NO_WATTS,
        warnings=("power_is_efficiency",),
    ),
    reads("fahrenheit", 18, "sealminer", put("stats STATS.0.PSU Temp AMB", "79F"), heat={"psu 0": None}),
]


# --- 19: the unit stands in the key or in a field of its own ---

_UNKNOWN_RATES = dict.fromkeys(
    ("hashrate_hs", "hashrate_window_s", "hashrate_key", "hashrate_now_hs", "hashrate_expected_hs")
)

RATE_UNITS = [
    reads(
        "mega",
        19,
        "antminer",
        put("stats STATS.1.rate_unit", "MH"),
        hashrate_hs=111_878.26e6,
        hashrate_now_hs=110_566.89e6,
        hashrate_expected_hs=110_000e6,
    ),
    reads(
        "tera",
        19,
        "antminer",
        put("stats STATS.1.rate_unit", "TH/s"),
        hashrate_hs=111_878.26e12,
        hashrate_now_hs=110_566.89e12,
        hashrate_expected_hs=110_000e12,
    ),
    # it works, in whatever unit: how much is not known
    reads(
        "unknown",
        19,
        "antminer",
        put("stats STATS.1.rate_unit", "Sol/s"),
        warnings=("hashrate_unit_unknown",),
        **_UNKNOWN_RATES,
    ),
    reads("missing", 19, "antminer", drop("stats STATS.1.rate_unit")),  # the keys say GHS
    reads("lower", 19, "hiveon", put("stats STATS.1.rate_unit", "gh/s")),
    reads("mega", 19, "elphapex", put("summary SUMMARY.0.rate_unit", "MH")),  # the same unit in fewer letters
    reads("sols", 19, "elphapex", put("summary SUMMARY.0.rate_unit", "Sol/s"), state="unknown", **_UNKNOWN_RATES),
    reads("giga", 19, "elphapex", put("summary SUMMARY.0.rate_unit", "GH/s"), hashrate_expected_hs=3003.75e9),
    reads(
        "tera",
        19,
        "vnish",
        put("info hr_measure", "TH/s"),
        hashrate_hs=109_500.75e12,
        hashrate_now_hs=109_500.75e12,
        hashrate_expected_hs=110_000e12,
    ),
    reads(
        "mega",
        19,
        "vnish",
        put("info hr_measure", "MH/s"),
        hashrate_hs=109_500.75e6,
        hashrate_now_hs=109_500.75e6,
        hashrate_expected_hs=110_000e6,
    ),
    reads(
        "other-key",
        19,
        "vnish",
        drop("summary miner.hr_realtime"),
        put("summary miner.instant_hashrate", 109.5),
        hashrate_hs=109.5e12,
        hashrate_now_hs=109.5e12,
        hashrate_key="instant_hashrate",
    ),
    # MARA: the number betrays its unit against the ideal of 140 TH/s
    reads("giga-by-size", 19, "mara", put("brief hashrate_realtime", 138_500.0)),
    reads(
        "stated-giga",
        19,
        "mara",
        put("brief hashrate_realtime", 138_500.0),
        put("brief hashrate_unit", "GH/s"),
        put("brief hashrate_average", 137_250.0),
        without=("hashrate_unit_guessed",),
    ),
    reads(
        "neither",
        19,
        "mara",
        put("brief hashrate_realtime", 1e9),
        hashrate_now_hs=None,
        **_money(137.25e12, None, "hashrate_average"),
        warnings=("hashrate_implausible",),
    ),
    reads(
        "tera",
        19,
        "braiins_rest",
        put("miner_stats miner_stats.real_hashrate.last_5m", {"terahash_per_second": 142.4}),
        hashrate_hs=142.4e12,
    ),
    reads(
        "mega",
        19,
        "braiins_rest",
        put("miner_stats miner_stats.real_hashrate.last_5s", {"megahash_per_second": 141e6}),
        hashrate_now_hs=141e12,
    ),
    reads(
        "unknown",
        19,
        "braiins_rest",
        put("miner_stats miner_stats.real_hashrate.last_5m", {"furlong_per_fortnight": 1}),
        **_money(142_751.90125095937e9, 900.0, "last_15m"),
    ),
]


# --- 21: board numbers with gaps, in any order, twice, not at all ---


def _numbered(name: str, section: str, keys: tuple[str, ...], numbers: tuple[object, ...]) -> tuple[Edit, ...]:
    return tuple(put(f"{name} {section}.{i}.{key}", number) for i, number in enumerate(numbers) for key in keys)


_WM = ("ASC", "ID", "Slot")

BOARD_NUMBERS = [
    reads("from-6", 21, "whatsminer", *_numbered("devs", "DEVS", _WM, (6, 7, 8)), boards=("6", "7", "8")),
    reads(
        "gap",
        21,
        "whatsminer",
        *_numbered("devs", "DEVS", _WM, (0, 2, 3)),
        boards=("0", "2", "3"),
        heat={"board 1": None, "chip 1": None, "board 2": 69.5, "chip 2": 90.11, "board 3": 71.5, "chip 3": 92.5},
    ),
    reads(
        "turned",
        21,
        "whatsminer",
        *_numbered("devs", "DEVS", _WM, (2, 1, 0)),
        boards=("2", "1", "0"),
        heat={"board 0": 71.5, "chip 0": 92.5, "board 2": 70.0, "chip 2": 90.0},
    ),
    reads("none", 21, "whatsminer", *_numbered("devs", "DEVS", _WM, (None, None, None)), boards=("0", "1", "2")),
    reads("negative", 21, "whatsminer", *_numbered("devs", "DEVS", _WM, (-1, -2, -3)), boards=("0", "1", "2")),
    reads("huge", 21, "whatsminer", *_numbered("devs", "DEVS", _WM, (10**6, 10**9, 2**40)), boards=("0", "1", "2")),
    # all three claim the same place: the hottest counts there
    reads(
        "same",
        21,
        "whatsminer",
        *_numbered("devs", "DEVS", _WM, (1, 1, 1)),
        boards=("1", "1", "1"),
        heat={"board 0": None, "chip 0": None, "board 1": 71.5, "chip 1": 92.5, "board 2": None, "chip 2": None},
    ),
    reads("words", 21, "luxos", *_numbered("devs", "DEVS", ("ID",), ("0", "1", "2"))),
    reads("from-6", 21, "luxos", *_numbered("devs", "DEVS", ("ID",), (8, 6, 7)), boards=("6", "7", "8")),
    reads("gap", 21, "luxos", *_numbered("devs", "DEVS", ("ID",), (3, 0, 1)), heat={"board 2": None, "board 3": 47.0}),
    reads(
        "from-1",
        21,
        "braiins",
        *_numbered("temps", "TEMPS", ("ID",), (1, 2, 3)),
        heat={
            "board 0": None,
            "chip 0": None,
            "board 1": 51.5,
            "chip 1": 66.5,
            "board 2": 53.5,
            "chip 2": 68.5,
            "board 3": 54.5,
            "chip 3": 69.5,
        },
    ),
    reads(
        "turned",
        21,
        "braiins",
        *_numbered("temps", "TEMPS", ("ID",), (8, 7, 6)),
        heat={"board 0": 54.5, "chip 0": 69.5, "board 2": 51.5, "chip 2": 66.5},
    ),
    reads(
        "from-6",
        21,
        "braiins_gql",
        *_numbered("gql_boards", "data.bosminer.info.workSolver.childSolvers", ("name",), ("6", "7", "8")),
        boards=("6", "7", "8"),
        heat={
            "board 0": 51.5,
            "chip 0": 66.5,
            "board 1": 53.5,
            "chip 1": 68.5,
            "board 2": 54.5,
            "chip 2": 69.5,
            "board 3": None,
            "chip 3": None,
        },
    ),
    reads(
        "from-6",
        21,
        "braiins_rest",
        *_numbered("miner_hw_hashboards", "hashboards", ("id",), ("6", "7", "8")),
        heat={
            "board 0": 55.5,
            "chip 0": 70.5,
            "board 1": 52.0,
            "chip 1": 67.0,
            "board 2": 54.0,
            "chip 2": 69.0,
            "board 3": None,
            "chip 3": None,
        },
    ),
    reads(
        "from-6",
        21,
        "vnish",
        *_numbered("summary", "miner.chains", ("id",), (6, 7, 8)),
        heat={
            "board 0": 61.0,
            "chip 0": 76.0,
            "board 1": 62.0,
            "chip 1": 77.0,
            "board 2": 63.0,
            "chip 2": 78.0,
            "board 3": None,
            "chip 3": None,
        },
    ),
    reads(
        "gap",
        21,
        "mara",
        *_numbered("hashboards", "hashboards", ("index",), (0, 2, 3)),
        heat={"board 1": None, "chip 1": None, "board 2": 61.0, "chip 2": 81.0, "board 3": 62.0, "chip 3": 82.0},
    ),
    reads(
        "by-place",
        21,
        "auradine",
        *_numbered("devs", "DEVS", ("ID", "DEV"), (None, None, None)),
        heat={"board 0": 28.25, "board 1": 29.06, "board 2": 30.12, "board 3": None},
    ),
    reads(
        "turned",
        21,
        "proto",
        *_numbered("telemetry_full", "hashboards", ("index",), (3, 2, 1, 0)),
        boards=("0", "1", "2", "3"),
        heat={
            "board 0": 47.795184450368396,
            "board 1": 46.45892698177783,
            "board 2": 45.58085180490902,
            "board 3": 48.43489937831655,
        },
    ),
    reads(
        "one-slot-less",
        21,
        "antminer",
        put("stats STATS.1.temp_pcb2", "0-0-0-0"),
        put("stats STATS.1.temp_chip2", "0-0-0-0"),
        put("stats STATS.1.temp2", 0),
        put("stats STATS.1.temp2_2", 0),
        put("stats STATS.1.chain_acn2", 0),
        put("stats STATS.1.chain_rate2", ""),
        boards=("1", "3"),
        heat={"board 2": None, "chip 2": None},
    ),
]


# --- 22: temperatures that no sensor means ---

_ALL_OF_1 = {"board 1": None, "chip 1": None}


def _cold(machine: str, where: str, values: tuple[object, ...], **heat: float | None) -> list[Case]:
    places = {place.replace("_", " "): degrees for place, degrees in heat.items()}
    return [reads(told(where, value), 22, machine, put(where, value), heat=places) for value in values]


TEMPERATURES = [
    *_cold("antminer", "stats STATS.1.temp_chip1", ("255-255-255-255", "abc", "---"), chip_1=None),
    # zeros stand for "no sensor there"; the old key beside it still has the chip
    reads("one-of-four", 22, "antminer", put("stats STATS.1.temp_pcb1", "255-45-64-65"), heat={"board 1": 65.0}),
    reads("three-zeros", 22, "hiveon", put("stats STATS.1.temp_pcb3", "0-0-64-0")),
    reads(
        "all-absent",
        22,
        "hiveon",
        put("stats STATS.1.temp_pcb1", ""),
        put("stats STATS.1.temp_chip1", "0-0-0-0"),
        put("stats STATS.1.temp2_1", 0),
        heat=_ALL_OF_1,
    ),
    *_cold("whatsminer", "devs DEVS.0.Temperature", (0, 0.0, -273.0, 255, 150.5, "", None, -41), board_0=None),
    *_cold("whatsminer", "devs DEVS.2.Chip Temp Max", (0, -273.15, 1000, "n/a"), chip_2=None),
    *_cold(
        "whatsminer_v3", "get_miner_status_summary msg.summary.environment-temperature", (0, -273, 255), inlet_0=None
    ),
    *_cold(
        "whatsminer_v3",
        "get_miner_status_summary msg.summary.board-temperature",
        ([0, 40.1, 41.5], [255, 40.1, 41.5], ["", 40.1, 41.5], [None, 40.1, 41.5]),
        board_0=None,
    ),
    *_cold("luxos", "devs DEVS.1.Temperature", (0, -273.0, 255, None), board_0=None),
    *_cold("braiins", "temps TEMPS.0.Chip", (0, -273, 999), chip_0=None),
    *_cold("braiins_rest", "miner_hw_hashboards hashboards.1.board_temp.degree_c", (0.0, -273.15, 200), board_2=None),
    *_cold("vnish", "summary miner.chains.0.chip_temp.max", (0, -273, 255), chip_1=None),
    *_cold("mara", "hashboards hashboards.0.temperature_chip", ([0, 0], [-273, 255], None, []), chip_0=None),
    *_cold("epic", "summary HBs.0.Temperature", (0, 255, None)),  # /temps still has the board's 67.0
    *_cold("epic", "temps 0.Data", ([0, 0], [-273.0, 255], None, ["", ""]), board_0=None),
    *_cold("auradine", "devs DEVS.0.Temperature", (0, -273, 255), board_1=None),
    *_cold("sealminer", "stats STATS.0.PSU Temp AMB", (0, -1000, 255), psu_0=None),
    *_cold("axeos", "system_info temp", (0, -1, -273, 255), chip_0=None),
    *_cold("axeos", "system_info vrTemp", (0, -1, 255), regulator_0=None),
    *_cold("proto", "mining mining-status.average_asic_temp_c", (0, -273.15, 200), chip_0=None),
    *_cold("elphapex", "stats STATS.0.chain.3.temp_pcb", ([0, 0, 0, 0], ["", "", "", ""], None), board_3=None),
    *_cold("elphapex", "get_power power_temp", ("0", "", "-2730"), psu_0=None),
    reads("minus-273-in-devs", 22, "avalon", swap("estats", b"ITemp[31]", b"ITemp[-273]"), heat={"inlet 0": None}),
    reads(
        "zero-chip",
        22,
        "avalon",
        swap("estats", b"MTmax[90 92 91]", b"MTmax[0 92 255]"),
        heat={"chip 0": None, "chip 2": None},
    ),
    reads("coldest-plausible", 22, "whatsminer", put("devs DEVS.0.Temperature", -40), heat={"board 0": -40.0}),
    reads("hottest-plausible", 22, "luxos", put("devs DEVS.1.Temperature", 150), heat={"board 0": 150.0}),
]


# --- 23: watts that are none ---


def _watts(machine: str, where: str, values: tuple[object, ...], **wanted: Any) -> list[Case]:
    return [reads(told(where, value), 23, machine, put(where, value), **(wanted or _NO_WATTS)) for value in values]


POWER = [
    *_watts("hiveon", "stats STATS.1.chain_power", (0, -1, "0 W")),
    *_watts("whatsminer", "summary SUMMARY.0.Power", (-1, 0, None), reported_power_w=3427.0, power_key="Power_RT"),
    reads(
        "both", 23, "whatsminer", put("summary SUMMARY.0.Power", -1), put("summary SUMMARY.0.Power_RT", -1), **_NO_WATTS
    ),
    *_watts("whatsminer", "summary SUMMARY.0.Power Limit", (0, -1), power_limit_w=None),
    *_watts(
        "whatsminer_v3",
        "get_miner_status_summary msg.summary.power-5min",
        (0, -1),
        reported_power_w=3156.0,
        power_key="power-realtime",
    ),
    *_watts("luxos", "power POWER.0.Watts", (0, -1, False)),
    *_watts("braiins", "tunerstatus TUNERSTATUS.0.ApproximateMinerPowerConsumption", (0, -1)),
    *_watts("braiins_gql", "gql_system data.bosminer.info.summary.power.approxConsumptionW", (0, None)),
    *_watts("braiins_rest", "miner_stats power_stats.approximated_consumption.watt", (0, -1)),
    reads(
        "zero", 23, "vnish", put("summary miner.power_consumption", 0), drop("summary miner.power_usage"), **_NO_WATTS
    ),
    reads(
        "efficiency-alone",
        23,
        "vnish",
        drop("summary miner.power_consumption"),
        **_NO_WATTS,
        warnings=("power_is_efficiency",),
    ),
    *_watts("mara", "brief power_consumption_estimated", (0, -1)),
    *_watts("epic", "summary Power Supply Stats.Input Power", (0, -5.5)),
    reads(
        "zero", 23, "auradine", put("psu PSU.0.PowerIn", "0.00W"), **_NO_WATTS, without=("supply_contradicts_hashrate",)
    ),
    *_watts("sealminer", "stats STATS.0.PSU Input Power", (0, -1)),
    reads("output-zero-while-hashing", 23, "sealminer", put("stats STATS.0.PSU Output Power", 0), dc_power_w=None),
    *_watts("axeos", "system_info power", (0, -1)),
    reads(
        "one-supply-silent",
        23,
        "proto",
        put("telemetry_full psus.0.power.input", -1),
        warnings=("supplies_missing",),
        reported_power_w=3447.008523267969,
        power_side="model",
        power_key="power_usage_watts",
    ),
    *_watts("elphapex", "get_power power_output", ("0", "-1")),
    # no WALLPOWER, and the seventh element is 0: what goes to the boards is left, and that is DC
    reads(
        "boards-only",
        23,
        "avalon",
        swap("estats", b" WALLPOWER[3731]", b""),
        swap("estats", b"1372 3731]", b"1372 0]"),
        reported_power_w=3526.0,
        power_side="dc",
        power_key="PS[4]",
        dc_power_w=None,
    ),
    reads(
        "nothing",
        23,
        "avalon",
        swap("estats", b" WALLPOWER[3731]", b" WALLPOWER[0]"),
        swap("estats", b"PS[0 1214 1372 256 3526 1372 3731]", b"PS[0 1214 1372 256 0 1372 -1]"),
        dc_power_w=None,
        **_NO_WATTS,
    ),
    # no supply gives more than it takes
    reads(
        "more-out-than-in",
        23,
        "avalon",
        swap("estats", b"WALLPOWER[3731]", b"WALLPOWER[3000]"),
        dc_power_w=None,
        warnings=("power_layout_unknown",),
        **_NO_WATTS,
    ),
]


# --- 24: expected rates that are none ---


def _expects(machine: str, where: str, values: tuple[object, ...], instead: float | None = None) -> list[Case]:
    return [reads(told(where, value), 24, machine, put(where, value), hashrate_expected_hs=instead) for value in values]


EXPECTED = [
    *_expects("whatsminer_v3", "get_miner_status_summary msg.summary.factory-hash", (-0.003, -0.004, 0, "")),
    *_expects("antminer", "stats STATS.1.total_rateideal", (0, -1)),
    *_expects("whatsminer", "summary SUMMARY.0.Factory GHS", (0, -1), 65_362_500e6),
    *_expects("vnish", "summary miner.hr_nominal", (0, -1), 110_000e9),  # "hr_stock"
    *_expects("mara", "brief hashrate_ideal", (0, None)),
    *_expects("auradine", "mode Mode.0.Ths", (0, -1)),
    *_expects("sealminer", "stats STATS.0.MHS(Ideal)", (0, -1), 230_839_407.28559e6),  # "MHS(Rated)"
    *_expects("axeos", "system_info smallCoreCount", (0, -1276)),
    *_expects("proto", "mining mining-status.ideal_hashrate_ghs", (0, -0.003)),
    *_expects("elphapex", "summary SUMMARY.0.rate_ideal", (0, -1)),
    *_expects(
        "braiins_rest", "miner_stats miner_stats.nominal_hashrate.gigahash_per_second", (0, -1), 141e12
    ),  # sticker
    reads("details", 24, "avalon", swap("estats", b"GHSmm[201872.44]", b"GHSmm[0.00]"), hashrate_expected_hs=None),
]


# --- 26: clocks: the time of the reply is ours, whatever the machine says ---


def _at(machine: str, name: str, when: object, *, place: str = "STATUS.0.When") -> Case:
    return reads(told(name, when), 26, machine, put(f"{name} {place}", when))


CLOCKS = [
    _at("antminer", "summary", 0),
    _at("antminer", "stats", 986),
    _at("hiveon", "summary", -1),
    _at("whatsminer", "summary", 24_701),
    _at("whatsminer", "status", "1970-01-01", place="When"),
    _at("avalon", "summary", 986),
    _at("avalon", "estats", None),
    _at("luxos", "summary", 2**40),
    _at("braiins", "summary", "never"),
    _at("auradine", "summary", 1e300),
    _at("sealminer", "stats", []),
    _at("whatsminer_v3", "get_miner_status_summary", 0, place="when"),
    _at("whatsminer_v3", "get_device_info", None, place="when"),
    _at("proto", "telemetry_full", "1970-01-01T00:00:00Z", place="timestamp"),
    _at("elphapex", "summary", -5, place="STATUS.timestamp"),
    _at("epic", "summary", 0, place="Session.Startup Timestamp"),
]


# --- 27: true and false in every spelling ---

_TRUE, _FALSE = ("true", "True", 1, "1", "Y", "on", "yes"), ("false", 0, "0", "N", "off", "no")


def _flags(machine: str, where: str, values: tuple[object, ...], **wanted: Any) -> list[Case]:
    return [reads(told(where, value), 27, machine, put(where, value), **wanted) for value in values]


FLAGS = [
    *_flags("antminer", "pools POOLS.0.Stratum Active", ("true", 1, "Y")),
    *_flags("luxos", "power POWER.0.PSU", ("true", 1), power_side="ac"),
    *_flags("luxos", "power POWER.0.PSU", ("false", "0")),
    *_flags("luxos", "devs DEVS.0.IsRamping", ("true", 1, "1"), state="warming_up"),
    *_flags("whatsminer_v3", "get_device_info msg.miner.working", (True, 1, "1", "TRUE")),
    *_flags("whatsminer", "summary SUMMARY.0.Hash Stable", ("true", 1, "1")),
    reads(
        "ramping",
        27,
        "whatsminer",
        put("summary SUMMARY.0.Hash Stable", "false"),
        put("devs DEVS.1.Upfreq Complete", "0"),
        state="warming_up",
    ),
    *_flags("sealminer", "stats STATS.0.Raise Freq Done", ("true", 1)),
    *_flags("sealminer", "stats STATS.0.Raise Freq Done", ("false", 0, "N"), state="warming_up"),
    *_flags("axeos", "system_info isUsingFallbackStratum", (True, "true", 1), pool_host="btc2.example.pool"),
    *_flags("axeos", "system_info isUsingFallbackStratum", (False, "0")),
    *_flags("proto", "pools pools.0.enabled", ("false", 0, False), pool_host="pool-b.example.com"),
    *_flags("epic", "summary Stratum.IsPoolConnected", ("true", 1)),
    *_flags("epic", "summary Stratum.IsPoolConnected", ("false", 0), pool_alive=False),
    *_flags("braiins_gql", "gql_pools data.bosminer.info.poolGroups.0.pools.0.active", ("true", 1)),
    *_flags("braiins_rest", "pools 0.pools.0.alive", ("false", 0), pool_alive=False),
    *_flags("auradine", "mode Mode.0.Sleep", (False, 0, "false", "no")),
    # neither: not said
    *_flags("epic", "summary Stratum.IsPoolConnected", ("maybe", None, []), pool_alive=None),
    *_flags("sealminer", "stats STATS.0.Raise Freq Done", ("perhaps", {})),  # the tuner says that it is done
]


# --- 28: WhatsMiner's error codes in every shape: extracted, in their order ---


def _codes(id: str, said: object, *codes: str) -> Case:
    """`codes` are checked alone: their words are the table's business."""
    return reads(id, 28, "whatsminer", put("get_error_code Msg.error_code", said), errors=codes)


ERROR_CODES = [
    _codes("dicts", [{"218": "2024-06-15 10:30:00"}, {"206": "2024-06-15 10:31:00"}], "218", "206"),
    _codes("ints", [218, 206], "218", "206"),
    _codes("texts", ["206", "218"], "206", "218"),
    _codes("mixed", [{"218": "2024-06-15"}, 206, "530"], "218", "206", "530"),
    _codes("list-printed-as-dict", {"218": "2024-06-15 10:30:00", "206": ""}, "218", "206"),
    _codes("twice", [218, "218", {"218": ""}], "218"),
    _codes("zero", [0, "0"]),
    _codes("null", None),
    _codes("text", "none"),
    _codes("nested", [[218], {"a": {"b": 1}}]),
    _codes("number", 218, "218"),
    _codes("reason-beside", [{"218": "t", "reason": "Power input low"}], "218"),
    _codes("not-codes", ["abc", "-1", 1.5, True, {"reason": "x"}, "1e3"]),
    _codes("too-many", list(range(100, 400)), *map(str, range(100, 132))),
    _codes("too-long", ["9" * 30, 218], "218"),
    reads(
        "in-summary",
        28,
        "whatsminer",
        put("summary SUMMARY.0.Error Code Count", 2),
        put("summary SUMMARY.0.Error Code 0", 110),
        put("summary SUMMARY.0.Error Code 1", 600),
        errors=("110", "600"),
    ),
    reads(
        "count-lies-high",
        28,
        "whatsminer",
        put("summary SUMMARY.0.Error Code Count", 9999),
        put("summary SUMMARY.0.Error Code 0", 110),
        errors=("110",),
    ),
    reads(
        "count-negative",
        28,
        "whatsminer",
        put("summary SUMMARY.0.Error Code Count", -1),
        put("summary SUMMARY.0.Error Code 0", 110),
    ),
    reads(
        "v3-list",
        28,
        "whatsminer_v3",
        put("get_device_info msg.error-code", [264, {"265": "t", "reason": "x"}]),
        errors=("264", "265"),
    ),
    reads("v3-object", 28, "whatsminer_v3", put("get_device_info msg.error-code", {"264": "t"}), errors=("264",)),
    reads("v3-text", 28, "whatsminer_v3", put("get_device_info msg.error-code", "ok")),
]


# --- 29: null where a list or a number belongs ---

NULLS = [
    reads("fan-entries", 29, "epic", put("summary Fans Rpm.Fans Speed 1", None), fans_rpm=(None, 0.0, 5942.0, 5745.0)),
    # it says that no board runs, so it hashes nothing; what it did since the start is history
    reads(
        "boards",
        29,
        "epic",
        put("summary HBs", None),
        state="idle",
        hashrate_now_hs=0.0,
        **_money(0.0, None, "HBs.Hashrate"),
        hashrate_expected_hs=143e12,
        heat={"board 1": 67.0},
    ),
    reads("fans", 29, "epic", put("summary Fans Rpm", None), fans_rpm=()),
    reads("pools-section", 29, "antminer", put("pools POOLS", None), pool_host=None, pool_alive=None),
    reads("stats-rows", 29, "antminer", put("stats STATS.0", None)),
    reads("fan", 29, "hiveon", put("stats STATS.1.fan3", None), fans_rpm=(6000.0, 5880.0, None, 5040.0)),
    loses("devs", 29, "whatsminer", put("devs DEVS", None)),
    reads(
        "dev-row", 29, "whatsminer", put("devs DEVS.2", None), heat={"board 2": None, "chip 2": None}, boards=("0", "1")
    ),
    reads("message", 29, "whatsminer", put("get_miner_info Msg", None), serial=None, hostname=None),
    reads(
        "board-temperature",
        29,
        "whatsminer_v3",
        put("get_miner_status_summary msg.summary.board-temperature", None),
        heat=dict.fromkeys(("board 0", "board 1", "board 2")),
    ),
    reads("pools", 29, "whatsminer_v3", put("get_miner_status_pools msg.pools", None), pool_host=None, pool_alive=None),
    fails("summary", 29, "whatsminer_v3", MALFORMED, put("get_miner_status_summary msg", None)),
    loses("details", 29, "avalon", put("estats STATS.0.MM ID0", None)),
    reads("fan-row", 29, "luxos", put("fans FANS.1", None), fans_rpm=(1920.0, 2340.0, 2340.0)),
    loses("config", 29, "luxos", put("config CONFIG", None)),
    reads("temps-row", 29, "braiins", put("temps TEMPS.2", None), heat={"board 2": None, "chip 2": None}),
    reads("chains", 29, "braiins", put("tunerstatus TUNERSTATUS.0.TunerChainStatus", None)),
    # a solver of null is a machine that does not mine
    reads(
        "solver",
        29,
        "braiins_gql",
        put("gql_system data.bosminer.info.workSolver", None),
        state="idle",
        hashrate_now_hs=None,
        hashrate_expected_hs=None,
        without=("hashrate_5s_only",),
    ),
    reads("fans", 29, "braiins_gql", put("gql_system data.bosminer.info.fans", None), fans_rpm=()),
    loses("boards", 29, "braiins_rest", put("miner_hw_hashboards hashboards", None)),
    reads("serial", 29, "braiins_rest", put("miner_details miner_identity", None), model=None, algorithm=None),
    reads("chip-temp", 29, "vnish", put("summary miner.chains.1.chip_temp", None), heat={"chip 2": None}),
    reads("cooling", 29, "vnish", put("summary miner.cooling", None), fans_rpm=()),
    reads("fans", 29, "mara", put("fans fans", None), fans_rpm=()),
    reads("temperature", 29, "auradine", put("devs DEVS.2.Temperature", None), heat={"board 3": None}),
    reads(
        "mode-rows", 29, "auradine", put("mode Mode", [None]), mode=None, power_limit_w=None, hashrate_expected_hs=None
    ),
    reads("speed", 29, "sealminer", put("stats STATS.0.1 Speed", None), fans_rpm=(3723.0, None, 3753.0, 3723.0)),
    reads("fans", 29, "axeos", put("system_info fanrpm", None), fans_rpm=()),
    reads(
        "supplies",
        29,
        "proto",
        put("telemetry_full psus", None),
        reported_power_w=3447.008523267969,
        power_side="model",
        power_key="power_usage_watts",
        dc_power_w=None,
        heat={"psu 0": None},
        warnings=("supplies_missing",),
    ),
    reads(
        "boards",
        29,
        "proto",
        put("telemetry_full hashboards", None),
        heat=dict.fromkeys(("board 0", "board 1", "board 2", "board 3", "inlet 0", "outlet 0")),
    ),
    reads(
        "fan",
        29,
        "elphapex",
        put("stats STATS.0.fan", ["420", None, "420", "1020"]),
        fans_rpm=(420.0, None, 420.0, 1020.0),
    ),
]


# --- 36: MAC addresses: normalised, or none ---

_MACS_GOOD = ("02005E100001", "02-00-5e-10-00-01", "0200.5e10.0001", " 02:00:5E:10:00:01 ", "02:00:5e:10:00:01")
_MACS_BAD = (
    "02:55:97:22:3M:72",
    "00:00:00:00:00:00",
    "ff:ff:ff:ff:ff:ff",
    "",
    "02:00:5e:10:00",
    "02:00:5e:10:00:01:02",
    None,
    123456789012.5,
    ["02:00:5e:10:00:01"],
    "not a mac",
)

_MAC_PLACES: tuple[tuple[str, str], ...] = (
    ("antminer_web", "get_system_info macaddr"),
    ("luxos", "config CONFIG.0.MACAddr"),
    ("avalon", "version VERSION.0.MAC"),
    ("sealminer", "stats STATS.0.MAC"),
    ("auradine", "ipreport IPReport.0.mac"),
    ("whatsminer_v3", "get_device_info msg.network.mac"),
    ("mara", "overview mac"),
    ("axeos", "system_info macAddr"),
    ("epic", "network dhcp.mac_address"),
    ("braiins_rest", "miner_details mac_address"),
)

MACS = [
    *(
        reads(told("mac", _MACS_GOOD[i % 5]), 36, machine, put(where, _MACS_GOOD[i % 5]), mac="02005e100001")
        for n, (machine, where) in enumerate(_MAC_PLACES)
        for i in (n, n + 2)
    ),
    *(
        reads(told("mac", _MACS_BAD[i % 10]), 36, machine, put(where, _MACS_BAD[i % 10]), mac=None)
        for n, (machine, where) in enumerate(_MAC_PLACES)
        for i in (n, n + 3)
    ),
    # two pages have it: the one that is right counts
    reads("second-page", 36, "whatsminer", put("summary SUMMARY.0.MAC", "00:00:00:00:00:00")),
    reads("second-page", 36, "elphapex", put("get_system_info macaddr", "b8:4c:87:e0:66")),
    reads("second-place", 36, "vnish", put("info system.network_status.mac", "")),
    reads("static", 36, "epic", put("network dhcp", None), put("network static", {"mac_address": "E6:D4:41:51:64:28"})),
]


CASES: list[Case] = [
    *SPOKEN,
    *THOUSANDS,
    *UNITS,
    *RATE_UNITS,
    *BOARD_NUMBERS,
    *TEMPERATURES,
    *POWER,
    *EXPECTED,
    *CLOCKS,
    *FLAGS,
    *ERROR_CODES,
    *NULLS,
    *MACS,
]
