"""Well-formed and not true: windows longer than the uptime, averages of machines that stand, words against numbers."""

from __future__ import annotations

from typing import Any

from fleet.readings import FaultKind
from hostile.cases import LIE, Case, bare, drop, fails, put, reads, swap

_NO_MONEY = dict.fromkeys(("hashrate_hs", "hashrate_window_s", "hashrate_key"))
_NO_WATTS = dict.fromkeys(("reported_power_w", "power_side", "power_key"))
_HISTORY = ("hashrate_history_only",)


def _money(hs: float | None, window_s: float | None, key: str | None) -> dict[str, Any]:
    return {"hashrate_hs": hs, "hashrate_window_s": window_s, "hashrate_key": key}


def lie(id: str, machine: str, *edits: Any, **wanted: Any) -> Case:
    return reads(id, LIE, machine, *edits, **wanted)


# --- a window longer than the uptime is averaged with zeros: the longest shorter one, else the average since the start

WINDOWS = [
    lie(
        "young",
        "antminer",
        put("summary SUMMARY.0.Elapsed", 900),
        uptime_s=900.0,
        **_money(111_834.85e9, 900.0, "GHS av"),
    ),
    lie(
        "just-begun",
        "antminer",
        put("summary SUMMARY.0.Elapsed", 1),
        uptime_s=1.0,
        state="warming_up",
        **_money(111_834.85e9, 1.0, "GHS av"),
    ),
    lie(
        "young",
        "hiveon",
        put("summary SUMMARY.0.Elapsed", 1799),
        uptime_s=1799.0,
        **_money(111_834.85e9, 1799.0, "GHS av"),
    ),
    lie(
        "young",
        "whatsminer",
        put("summary SUMMARY.0.Elapsed", 100),
        uptime_s=100.0,
        **_money(67_439_352.49e6, 60.0, "MHS 1m"),
    ),
    lie(
        "younger",
        "whatsminer",
        put("summary SUMMARY.0.Elapsed", 30),
        uptime_s=30.0,
        **_money(67_753_251.19e6, 30.0, "MHS av"),
    ),
    lie(
        "young",
        "whatsminer_v3",
        put("get_miner_status_summary msg.summary.elapsed", 600),
        uptime_s=600.0,
        **_money(171.2e12, 60.0, "hash-1min"),
    ),
    lie(
        "younger",
        "whatsminer_v3",
        put("get_miner_status_summary msg.summary.elapsed", 20),
        uptime_s=20.0,
        **_money(170.8e12, 20.0, "hash-average"),
    ),
    lie(
        "young",
        "avalon",
        put("summary SUMMARY.0.Elapsed", 200),
        uptime_s=200.0,
        state="warming_up",
        **_money(197_322_915.2e6, 60.0, "MHS 1m"),
    ),
    lie(
        "younger",
        "avalon",
        put("summary SUMMARY.0.Elapsed", 40),
        uptime_s=40.0,
        state="warming_up",
        **_money(192_803_313e6, 40.0, "MHS av"),
    ),
    lie(
        "young",
        "luxos",
        put("summary SUMMARY.0.Elapsed", 299),
        uptime_s=299.0,
        state="warming_up",
        **_money(60_829.48e9, 60.0, "GHS 1m"),
    ),
    lie(
        "younger",
        "luxos",
        put("summary SUMMARY.0.Elapsed", 59),
        uptime_s=59.0,
        state="warming_up",
        **_money(56_917.91e9, 59.0, "GHS av"),
    ),
    lie(
        "young",
        "braiins",
        put("summary SUMMARY.0.Elapsed", 120),
        uptime_s=120.0,
        state="warming_up",
        **_money(206_100_000.5e6, 60.0, "MHS 1m"),
    ),
    lie(
        "young",
        "braiins_rest",
        put("miner_details bosminer_uptime_s", 100),
        uptime_s=100.0,
        state="warming_up",
        **_money(144_009.07569446342e9, 60.0, "last_1m"),
    ),
    lie(
        "younger",
        "braiins_rest",
        put("miner_details bosminer_uptime_s", 10),
        uptime_s=10.0,
        state="warming_up",
        **_money(138_207.05294534727e9, 10.0, "since_restart"),
    ),
    lie(
        "young",
        "auradine",
        put("summary SUMMARY.0.Elapsed", 250),
        uptime_s=250.0,
        state="warming_up",
        **_money(10_256_844.54901739e6, 60.0, "MHS 1m"),
    ),
    # 2 h of 61 TH/s beside 5 min of 220 at 2481 s: never the long one
    lie(
        "long-window",
        "sealminer",
        drop("stats STATS.0.MHS(5m)"),
        drop("stats STATS.0.MHS(15m)"),
        drop("stats STATS.0.MHS(30m)"),
        **_money(220_298_736.318481e6, 120.0, "MHS(2m)"),
    ),
    lie(
        "young",
        "sealminer",
        put("stats STATS.0.Elapsed", 200),
        uptime_s=200.0,
        **_money(220_298_736.318481e6, 120.0, "MHS(2m)"),
    ),
    lie(
        "young",
        "epic",
        put("summary Session.Uptime", 100),
        uptime_s=100.0,
        **_money(90_071_990e6, 100.0, "Session.Average MHs"),
    ),
    lie(
        "old",
        "proto",
        put("mining mining-status.mining_uptime_s", 86_400),
        uptime_s=86_400.0,
        **_money(141_147.4350314711e9, None, "hashrate_ghs"),
    ),
    lie(
        "ten-minutes-at-four-seconds",
        "axeos",
        put("system_info hashRate_10m", 400),
        put("system_info hashRate_1m", 500),
    ),
    lie(
        "ten-minutes",
        "axeos",
        put("system_info hashRate_10m", 400),
        put("system_info uptimeSeconds", 700),
        uptime_s=700.0,
        state="mining",
        **_money(400e9, 600.0, "hashRate_10m"),
    ),
    lie(
        "fifteen-minutes",
        "elphapex",
        put("summary SUMMARY.0.rate_15m", 3000),
        put("summary SUMMARY.0.rate_avg", 2900),
        put("summary SUMMARY.0.rate_5s", 3100),
        put("summary SUMMARY.0.elapsed", 800),
        uptime_s=800.0,
        state="mining",
        hashrate_now_hs=3100e6,
        **_money(2900e6, 800.0, "rate_avg"),
    ),
    lie("ten-minutes", "mara", put("brief hashrate_realtime_10m", 137.5), put("brief elapsed", 500), uptime_s=500.0),
]


# --- the past of a machine that stands; its nominal rate stays ---

STANDING = [
    # asleep: rates 0, `GHS av` and the ideal of 110 TH/s stay
    lie(
        "asleep",
        "antminer_web",
        put("get_miner_conf bitmain-work-mode", "1"),
        put("summary SUMMARY.0.GHS 5s", 0.0),
        put("summary SUMMARY.0.GHS 30m", 0.0),
        state="sleeping",
        mode="sleep",
        hashrate_hs=0.0,
        hashrate_now_hs=0.0,
    ),
    lie(
        "asleep-as-number",
        "antminer_web",
        put("get_miner_conf bitmain-work-mode", 1),
        put("summary SUMMARY.0.GHS 5s", 0),
        put("summary SUMMARY.0.GHS 30m", 0),
        state="sleeping",
        mode="sleep",
        hashrate_hs=0.0,
        hashrate_now_hs=0.0,
    ),
    lie(
        "asleep-by-old-key",
        "antminer_web",
        drop("get_miner_conf bitmain-work-mode"),
        put("get_miner_conf miner-mode", 5),
        put("summary SUMMARY.0.GHS 5s", 0),
        put("summary SUMMARY.0.GHS 30m", 0),
        state="sleeping",
        mode="5",
        hashrate_hs=0.0,
        hashrate_now_hs=0.0,
    ),
    lie(
        "average-only",
        "antminer",
        put("summary SUMMARY.0.GHS 5s", 0.0),
        drop("summary SUMMARY.0.GHS 30m"),
        drop("stats STATS.1.rate_30m"),
        state="idle",
        hashrate_now_hs=0.0,
        warnings=_HISTORY,
        **_NO_MONEY,
    ),
    lie(
        "average-only",
        "whatsminer",
        put("summary SUMMARY.0.MHS 5s", 0),
        put("summary SUMMARY.0.HS RT", 0),
        drop("summary SUMMARY.0.MHS 5m"),
        drop("summary SUMMARY.0.MHS 15m"),
        drop("summary SUMMARY.0.MHS 1m"),
        state="idle",
        hashrate_now_hs=0.0,
        hashrate_hs=0.0,
        hashrate_key="HS RT",
        warnings=("hashrate_window_assumed",),
    ),
    lie(
        "average-only",
        "luxos",
        put("summary SUMMARY.0.GHS 5s", 0),
        *(drop(f"summary SUMMARY.0.GHS {w}") for w in ("1m", "5m", "15m", "30m")),
        hashrate_now_hs=0.0,
        warnings=_HISTORY,
        state="warming_up",
        **_NO_MONEY,
    ),  # its tuner is at work
    lie(
        "average-only",
        "sealminer",
        put("stats STATS.0.MHS(Sample)", 0),
        *(drop(f"stats STATS.0.MHS({w})") for w in ("1m", "2m", "5m", "15m", "30m")),
        hashrate_now_hs=0.0,
        warnings=_HISTORY,
        state="idle",
        **_NO_MONEY,
    ),
    lie(
        "day-average-only",
        "braiins_rest",
        put(
            "miner_stats miner_stats.real_hashrate",
            {"last_5s": {"gigahash_per_second": 0}, "since_restart": {"gigahash_per_second": 138_207}},
        ),
        hashrate_now_hs=0.0,
        warnings=_HISTORY,
        state="idle",
        **_NO_MONEY,
    ),
    lie(
        "paused-display",
        "axeos",
        put("system_info miningPaused", True),
        state="sleeping",
        hashrate_now_hs=None,
        warnings=_HISTORY,
        **_NO_MONEY,
    ),
    lie(
        "overheated",
        "axeos",
        put("system_info overheat_mode", 1),
        put("system_info hashRate", 0),
        put("system_info uptimeSeconds", 900),
        uptime_s=900.0,
        state="faulted",
        hashrate_hs=0.0,
        hashrate_now_hs=0.0,
        errors=("overheat_mode",),
    ),
    lie(
        "hour-average",
        "avalon",
        swap("estats", b"GHSspd[199241.66]", b"GHSspd[0.00]"),
        swap("estats", b"Work: In Work", b"Work: In Idle"),
        swap("estats", b"SoftOFF[0]", b"SoftOFF[4]"),
        put("summary SUMMARY.0.MHS 5m", 0.06),
        state="sleeping",
        hashrate_hs=60_000.0,
        hashrate_now_hs=0.0,
    ),
]


# --- words against numbers: numbers decide what it does ---

_RATES_0 = {"hashrate_hs": 0.0, "hashrate_now_hs": 0.0}

WORDS = [
    lie("says-off-but-hashes", "whatsminer", put("status Msg.btmineroff", "true")),
    lie(
        "says-on-but-stands",
        "whatsminer",
        put("summary SUMMARY.0.MHS 5s", 0),
        put("summary SUMMARY.0.MHS 5m", 0),
        state="idle",
        **_RATES_0,
    ),
    lie(
        "off",
        "whatsminer",
        put("status Msg", {"mineroff": "true", "mineroff_reason": "x"}),
        put("summary SUMMARY.0.MHS 5s", 0),
        put("summary SUMMARY.0.MHS 5m", 0),
        state="sleeping",
        **_RATES_0,
    ),
    lie("not-working-but-hashes", "whatsminer_v3", put("get_device_info msg.miner.working", "false")),
    lie(
        "working-but-stands",
        "whatsminer_v3",
        put("get_miner_status_summary msg.summary.hash-realtime", 0),
        put("get_miner_status_summary msg.summary.hash-15min", 0),
        state="idle",
        **_RATES_0,
    ),
    lie("sleep-but-hashes", "luxos", put("config CONFIG.0.CurtailMode", "Sleep")),
    lie(
        "sleeps",
        "luxos",
        put("config CONFIG.0.CurtailMode", "Sleep"),
        put("summary SUMMARY.0.GHS 5s", 0),
        put("summary SUMMARY.0.GHS 5m", 0),
        state="sleeping",
        **_RATES_0,
    ),
    lie(
        "normal-but-stands",
        "braiins_rest",
        put("miner_stats miner_stats.real_hashrate.last_5s.gigahash_per_second", 0),
        put("miner_stats miner_stats.real_hashrate.last_5m.gigahash_per_second", 0),
        state="idle",
        **_RATES_0,
    ),
    lie("paused-but-hashes", "braiins_rest", put("miner_details status", 3)),
    lie("mining-but-stands", "vnish", put("summary miner.hr_realtime", 0), state="idle", **_RATES_0),
    lie("stopped-but-hashes", "vnish", put("summary miner.miner_status.miner_state", "stopped")),
    lie(
        "failure",
        "vnish",
        put("summary miner.miner_status", {"miner_state": "failure", "failure_code": 21, "description": "x"}),
        put("summary miner.hr_realtime", 0),
        state="faulted",
        errors=("21",),
        **_RATES_0,
    ),
    lie(
        "mining-but-stands",
        "mara",
        put("brief hashrate_realtime", 0),
        put("brief hashrate_average", 0),
        state="idle",
        without=("hashrate_unit_guessed",),
        **_RATES_0,
    ),
    lie(
        "mining-but-stands",
        "epic",
        put("summary HBs.0.Hashrate.0", 0),
        put("summary HBs.1.Hashrate.0", 0),
        state="idle",
        hashrate_expected_hs=143e12,
        **_RATES_0,
    ),
    lie("idling-but-hashes", "epic", put("summary Status.Operating State", "Idling")),
    lie(
        "awake-but-stands",
        "auradine",
        put("summary SUMMARY.0.MHS 5s", 0),
        put("summary SUMMARY.0.MHS 5m", 0),
        state="idle",
        without=("supply_contradicts_hashrate",),
        dc_power_w=0.0,
        **_RATES_0,
    ),
    lie(
        "running-but-stands",
        "sealminer",
        put("stats STATS.0.MHS(Sample)", 0),
        put("stats STATS.0.MHS(5m)", 0),
        state="idle",
        **_RATES_0,
    ),
    lie("suspended-but-hashes", "sealminer", put("stats STATS.0.PM State", "Suspended")),
    lie(
        "mining-but-stands",
        "proto",
        put("mining mining-status.hashrate_ghs", 0),
        put("mining mining-status.average_hashrate_ghs", 0),
        put("mining mining-status.mining_uptime_s", 900),
        uptime_s=900.0,
        hashrate_window_s=900.0,
        state="idle",
        **_RATES_0,
    ),
    lie("stopped-but-hashes", "proto", put("mining mining-status.status", "Stopped"), state="warming_up"),  # 28 s
    lie(
        "stuck-at-0",
        "avalon",
        swap("estats", b"GHSspd[199241.66]", b"GHSspd[0.00]"),
        hashrate_now_hs=214_001_204.3e6,
        warnings=("now_rate_stuck_at_zero",),
    ),
    lie("degraded", "proto", put("mining mining-status.status", "DegradedMining")),
    lie(
        "model-of-a-board",
        "antminer",
        put("version VERSION.0.Type", "Antminer BHB42XXX"),
        put("stats STATS.0.Type", "Antminer BHB42XXX"),
        model=None,
        algorithm=None,
        warnings=("model_is_a_board_id",),
    ),
    lie(
        "no-sha256-here",
        "antminer",
        put("version VERSION.0.Type", "Antminer L7"),
        put("stats STATS.0.Type", "Antminer L7"),
        model="L7",
        algorithm=None,
    ),
    fails("other-model-in-stats", 37, "antminer", FaultKind.IDENTITY, put("stats STATS.0.Type", "Antminer S21")),
    fails("other-model-in-stats", 37, "hiveon", FaultKind.IDENTITY, put("stats STATS.0.Type", "Antminer T17")),
]


# --- wild values of seconds, counters and clocks below 0 ---

COUNTERS = [
    # four numbers that stand on every board of this maker, empty slots and full load alike
    lie(
        "constant-for-heat", "elphapex", put("stats STATS.0.chain.3.temp_pcb", [47, 46, 67, 66]), heat={"board 3": None}
    ),
    lie(
        "constant-in-words",
        "elphapex",
        put("stats STATS.0.chain.3.temp_pcb", ["47", "46", "67", "66"]),
        heat={"board 3": None},
    ),
    lie("wild-5s", "sealminer", put("summary SUMMARY.0.MHS 5s", 9e9)),
    lie("other-windows", "sealminer", put("summary SUMMARY.0.MHS 5m", 1), put("summary SUMMARY.0.MHS av", 1)),
    lie("negative-rate", "antminer", put("summary SUMMARY.0.GHS 30m", -111_878.26), hashrate_key="rate_30m"),
    lie("negative-now", "luxos", put("summary SUMMARY.0.GHS 5s", -1), hashrate_now_hs=None),
    lie(
        "negative-now",
        "vnish",
        put("summary miner.hr_realtime", -5),
        state="unknown",
        hashrate_now_hs=None,
        **_NO_MONEY,
    ),
    lie("negative-counter", "whatsminer", put("summary SUMMARY.0.Accepted", -1), shares_accepted=None),
    lie("negative-counter", "proto", put("pools pools.0.accepted", -5), shares_accepted=None),
    lie("negative-difficulty", "braiins", put("summary SUMMARY.0.Difficulty Accepted", -0.5), difficulty_accepted=None),
    lie("negative-fan", "sealminer", put("stats STATS.0.0 Speed", -3723), fans_rpm=(None, 3723.0, 3753.0, 3723.0)),
    lie("negative-limit", "epic", put("summary PresetInfo.Target Power", -3000), power_limit_w=None),
    lie(
        "limit-is-no-bound",
        "braiins",
        put("tunerstatus TUNERSTATUS.0.ApproximateMinerPowerConsumption", 4448),
        reported_power_w=4448.0,
    ),
    lie(
        "tiny-rate",
        "axeos",
        bare("system_info hashRate", "5e-324"),
        hashrate_hs=5e-324 * 1e9,
        hashrate_now_hs=5e-324 * 1e9,
    ),
    # the same seconds stand in `stats`, so one broken reply does not cost them
    *(
        lie(f"uptime={value}", "antminer", put("summary SUMMARY.0.Elapsed", value), uptime_s=50474.0)
        for value in (-1, None)
    ),
    *(
        lie(f"uptime={value}", machine, put(where, value), uptime_s=None, **more)
        for machine, where, more in (
            ("whatsminer", "summary SUMMARY.0.Elapsed", {"warnings": ("uptime_unknown",)}),
            ("luxos", "summary SUMMARY.0.Elapsed", {"warnings": ("uptime_unknown",)}),
            ("auradine", "summary SUMMARY.0.Elapsed", {"warnings": ("uptime_unknown",)}),
        )
        for value in (-1, None)
    ),
]


# --- pools: who gets the work ---


def _pool(id: str, url: object, host: str | None) -> Case:
    return lie(id, "antminer", put("pools POOLS.0.Stratum URL", url), pool_host=host)


POOLS = [
    _pool(
        "account-in-url",
        "stratum+tcp://canary-worker:canary-password@btc.global.luxor.tech:700",
        "btc.global.luxor.tech",
    ),
    _pool("looks-like-another", "stratum+tcp://btc.global.luxor.tech@evil.example:3333", "evil.example"),
    _pool("path", "stratum+tcp://evil.example/btc.global.luxor.tech", "evil.example"),
    _pool("fragment", "stratum+tcp://evil.example#btc.global.luxor.tech", "evil.example"),
    _pool("upper-case", "STRATUM+TCP://BTC.GLOBAL.LUXOR.TECH:700", "btc.global.luxor.tech"),
    _pool("bare-host", "btc.global.luxor.tech", "btc.global.luxor.tech"),
    _pool("address", "stratum+ssl://203.0.113.7:3333", "203.0.113.7"),
    _pool("broken-brackets", "stratum+tcp://[::1", None),
    _pool("number", 3333, "3333"),
    _pool("list", ["stratum+tcp://evil.example"], None),
    _pool("nothing-but-a-scheme", "stratum+tcp://", None),
    lie("only-inactive", "antminer", put("pools POOLS.0.Stratum Active", False), pool_host=None, pool_alive=None),
    lie("dead-but-active", "whatsminer", put("pools POOLS.0.Status", "Dead"), pool_alive=False),
    lie("two-at-work", "whatsminer", put("pools POOLS.1.Stratum Active", True), warnings=("several_pool_hosts",)),
    lie("two-at-work", "braiins", put("pools POOLS.1.Stratum Active", True), warnings=("several_pool_hosts",)),
    lie(
        "fee-pool-first",
        "vnish",
        put("summary miner.pools.0.url", "devfee.example:3333"),
        put("summary miner.pools.0.pool_type", "DevFee"),
        pool_host=None,
        pool_alive=False,
        shares_accepted=0.0,
        shares_rejected=0.0,
        shares_stale=0.0,
        difficulty_accepted=0.0,
    ),
    lie("turned-numbers", "antminer", put("pools POOLS.0.POOL", 2), put("pools POOLS.2.POOL", 0)),
]


CASES: list[Case] = [*WINDOWS, *STANDING, *WORDS, *COUNTERS, *POOLS]
