"""The healthy machines that the hostile cases are edits of: replies by the name of the question that they answer.

Most are the recorded ones of `tests/captures/miners`. Where nobody recorded a machine (Hiveon, VNish, MARA, the
bosminer API of Braiins OS, a running A-series Avalon, the pages of an Antminer, API v2 of a WhatsMiner) the replies are
written by hand in the form that the firmware is known to have. Accounts and passwords are planted everywhere.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from collectors.miners import makes
from collectors.miners.make import Make

CAPTURES = Path(__file__).resolve().parent.parent / "captures" / "miners"
ACCOUNT, PASSWORD = "canary-worker", "canary-password"
TOKEN = "canary-token"


@dataclass(frozen=True)
class Machine:
    """One healthy machine. `replies` are decoded; `joins` = its firmware takes joined commands."""

    key: str
    replies: Mapping[str, Any]
    joins: bool = False

    @property
    def make(self) -> Make:
        return makes.make_of(self.key)


def captured(folder: str, *names: str) -> dict[str, Any]:
    """Recorded replies, all of the folder where none is named."""
    paths = sorted((CAPTURES / folder).glob("*.json"))
    found = {path.stem: json.loads(path.read_bytes()) for path in paths if not names or path.stem in names}
    return {name: with_canaries(reply) for name, reply in found.items()}


def with_canaries(value: Any) -> Any:
    """The same reply with planted accounts and passwords where accounts and passwords stand."""
    if isinstance(value, list):
        return [with_canaries(item) for item in value]
    if not isinstance(value, dict):
        return value
    told = {key: with_canaries(item) for key, item in value.items()}
    for key in told:
        if key in ("User", "user", "account", "login", "Current User", "stratumUser", "fallbackStratumUser"):
            told[key] = ACCOUNT
        if key in ("Password", "pass", "password", "pw"):
            told[key] = PASSWORD
    if "POOL" in told:
        told["Pass"] = told["Password"] = PASSWORD
    return told


def rpc(section: str, rows: list[dict[str, Any]], code: int = 11, description: str = "cgminer 1.0.0") -> dict[str, Any]:
    status = {"STATUS": "S", "When": 1755615295, "Code": code, "Msg": section.title(), "Description": description}
    return {"STATUS": [status], section: rows, "id": 1}


def pool_rows(*hosts: str) -> list[dict[str, Any]]:
    """Pools of a cgminer reply; the first gets the work."""
    return [
        {
            "POOL": i,
            "URL": f"stratum+tcp://{host}:3333",
            "Status": "Alive",
            "Priority": i,
            "User": ACCOUNT,
            "Password": PASSWORD,
            "Stratum Active": i == 0,
            "Stratum URL": host,
            "Accepted": 0,
            "Diff": "524K",
        }
        for i, host in enumerate(hosts)
    ]


# --- written by hand -------------------------------------------------------------------------------------------------

_HIVEON_VERSION = rpc(
    "VERSION", [{"API": "3.1", "Type": "Antminer S19 Pro Hiveon", "CompileTime": "Tue Dec  6 16:12:30 CST 2022"}], 22
)


def _hiveon() -> dict[str, Any]:
    replies = captured("antminer-stock-2022", "summary", "stats", "pools")
    replies["version"] = _HIVEON_VERSION
    replies["stats"]["STATS"][0]["Type"] = "Antminer S19 Pro Hiveon"
    replies["stats"]["STATS"][1]["chain_power"] = "3250 W"
    return replies


_ANTMINER_PAGES: dict[str, Any] = {
    "get_system_info": {
        "minertype": "Antminer S19 Pro",
        "macaddr": "02:00:5E:10:00:01",
        "hostname": "rack-4",
        "serinum": "SN0001",
        "system_filesystem_version": "Tue Dec  6 16:12:30 CST 2022",
        "Algorithm": "sha256d",
    },
    "get_miner_conf": {
        "bitmain-work-mode": "0",
        "pools": [{"url": "stratum+tcp://btc.global.luxor.tech:700", "user": ACCOUNT, "pass": PASSWORD}],
    },
    "web_errors": {
        "STATUS": {"STATUS": "S"},
        "SUMMARY": [{"status": [{"type": "rate", "status": "s", "code": 0, "msg": ""}]}],
    },
}

_WHATSMINER_V2: dict[str, Any] = {
    "devdetails": rpc(
        "DEVDETAILS", [{"DEVDETAILS": 0, "ID": 0, "Name": "SM", "Driver": "bitmicro", "Model": "M30S+_VE40"}], 69
    ),
    "get_miner_info": {
        "STATUS": "S",
        "When": 1761064196,
        "Code": 131,
        "Description": "whatsminer v1.4.0",
        "Msg": {"ip": "127.0.0.9", "mac": "C4:08:28:00:A4:19", "hostname": "WhatsMiner", "minersn": "HTM31S12345678"},
    },
    "get_error_code": {
        "STATUS": "S",
        "When": 1761064196,
        "Code": 131,
        "Description": "whatsminer v1.4.0",
        "Msg": {"error_code": []},
    },
}

_A1566_TEXT = (
    "Ver[15-24102401_25462b2] LVer[24102401_25462b2] DNA[020200006df9ab3c] STATE[1] NETFAIL[0 0 0 0 0 0 0 0] SSID[] "
    "SYSTEMSTATU[Work: In Work, Hash Board: 3 ] Elapsed[975]BOOTBY[0x01.00000000] MH[3 1 6] HW[10] DH[2.732%] "
    "ITemp[31] HBITemp[34] HBOTemp[61] TMax[92] TAvg[76] Fan1[6091] Fan2[6103] Fan3[6088] Fan4[6096] FanR[72%] "
    "FanErr[0] PS[0 1214 1372 256 3526 1372 3731] WALLPOWER[3731] PCOMM_E[0] GHSspd[199241.66] GHSmm[201872.44] "
    "GHSavg[184008.12] MGHS[61286.08 61313.93 61408.11] MTmax[90 92 91] MTavg[75 77 76] TA[480] Core[A3198] "
    "SoftOFF[0] ECHU[0 0 0] ECMM[0] CRC[0 0 0] COMCRC[0 0 0] WORKMODE[1] WORKLEVEL[0] MPO[3515] Nonce Mask[25]"
)


def _a1566() -> dict[str, Any]:
    totals = {
        "Elapsed": 975,
        "MHS av": 192_803_313.0,
        "MHS 5s": 214_001_204.3,
        "MHS 1m": 197_322_915.2,
        "MHS 5m": 196_011_502.7,
        "MHS 15m": 121_880_113.4,
        "Accepted": 148,
        "Rejected": 1,
        "Stale": 0,
        "Difficulty Accepted": 40_894_464.0,
        "Difficulty Rejected": 262_144.0,
    }
    version = {
        "CGMiner": "4.11.1",
        "API": "3.7",
        "PROD": "AvalonMiner 15-194",
        "MODEL": "15-194",
        "LVERSION": "24102401_25462b2",
        "DNA": "020200006df9ab3c",
        "MAC": "b4a2eb340001",
        "HWTYPE": "MM4v2_X3",
    }
    maker = "cgminer 4.11.1"
    return {
        "version": rpc("VERSION", [version], 22, maker),
        "summary": rpc("SUMMARY", [totals], 11, maker),
        "estats": rpc("STATS", [{"STATS": 0, "ID": "AVALON0", "Elapsed": 975, "MM ID0": _A1566_TEXT}], 70, maker),
        "pools": rpc("POOLS", pool_rows("pool.example.com"), 7, maker),
    }


_BOSER = "BOSer boser-buildroot 0.1.0-45f356ea"


def _bosminer() -> dict[str, Any]:
    totals = {
        "Elapsed": 7206,
        "MHS 5s": 205_749_605.6,
        "MHS 1m": 206_100_000.5,
        "MHS 5m": 206_200_000.5,
        "MHS 15m": 206_300_000.5,
        "MHS av": 201_000_000.5,
        "Accepted": 920,
        "Rejected": 3,
        "Stale": 1,
        "Difficulty Accepted": 345_767_936.0,
        "Difficulty Rejected": 786_432.0,
    }
    boards = ((6, 51.5, 66.5), (7, 53.5, 68.5), (8, 54.5, 69.5))
    return {
        "version": rpc("VERSION", [{"API": "3.7", "BOSer": "boser-buildroot 0.1.0-45f356ea"}], 22, _BOSER),
        "summary": rpc("SUMMARY", [totals], 11, _BOSER),
        "tunerstatus": rpc(
            "TUNERSTATUS",
            [
                {
                    "ApproximateMinerPowerConsumption": 3698,
                    "PowerLimit": 3878,
                    "TunerChainStatus": [{"HashchainIndex": i, "Status": "Stable"} for i, _, _ in boards],
                }
            ],
            201,
            _BOSER,
        ),
        "devs": rpc(
            "DEVS",
            [{"ID": i, "Nominal MHS": 72_000_000.0, "MHS 5m": 68_733_333.5, "Status": "Alive"} for i, _, _ in boards],
            9,
            _BOSER,
        ),
        "temps": rpc(
            "TEMPS", [{"ID": i, "TEMP": n, "Board": b, "Chip": c} for n, (i, b, c) in enumerate(boards)], 201, _BOSER
        ),
        "fans": rpc("FANS", [{"FAN": i, "ID": i, "RPM": 6000 + i, "Speed": 100} for i in range(4)], 202, _BOSER),
        "pools": rpc("POOLS", pool_rows("stratum.braiins.com", "backup.example"), 7, _BOSER),
        "devdetails": rpc(
            "DEVDETAILS", [{"ID": i, "Model": "Antminer S21", "Chips": 108} for i, _, _ in boards], 69, _BOSER
        ),
    }


def _epic() -> dict[str, Any]:
    replies = captured("epic-powerplay-1.5")
    return replies | {"presets": replies["capabilities"]}  # one page, asked for two reasons


def _vnish() -> dict[str, Any]:
    chains = [
        {
            "id": i,
            "status": {"state": "mining"},
            "frequency": 545.0,
            "voltage": 13800,
            "hashrate_rt": 36_500.25,
            "hashrate_ideal": 36_666.5,
            "hw_errors": i,
            "pcb_temp": {"min": 40, "max": 60 + i},
            "chip_temp": {"min": 55, "max": 75 + i},
            "chip_statuses": {"red": 0, "orange": 4, "grey": 110},
        }
        for i in (1, 2, 3)
    ]
    pool = {
        "url": "pool.example.com:3333",
        "pool_type": "Stratum",
        "user": ACCOUNT,
        "status": "working",
        "accepted": 500,
        "rejected": 2,
        "stale": 1,
        "diffa": 1_000_000,
    }
    fee = {"url": "DevFee", "pool_type": "DevFee", "user": ACCOUNT, "status": "working", "accepted": 9, "rejected": 0}
    miner = {
        "miner_status": {"miner_state": "mining", "miner_state_time": 5000, "throttled": 100},
        "miner_type": "Antminer S19 Pro (Vnish 1.2.6)",
        "hr_realtime": 109_500.75,
        "hr_nominal": 110_000.0,
        "hr_stock": 110_000.0,
        "power_consumption": 3240,
        "power_usage": 29.5,
        "pools": [
            pool,
            {
                **pool,
                "url": "backup.example:3333",
                "status": "offline",
                "accepted": 0,
                "rejected": 0,
                "stale": 0,
                "diffa": 0,
            },
            fee,
        ],
        "cooling": {"fans": [{"id": i, "rpm": 5000 + i, "status": "ok"} for i in range(4)]},
        "chains": chains,
    }
    network = {"mac": "02:00:5E:20:00:02", "hostname": "vnish-7"}
    return {
        "summary": {"miner": miner, "system": {"uptime": "1 day, 2:03", "network_status": network}},
        "info": {
            "miner": "Antminer S19 Pro",
            "fw_name": "Vnish",
            "fw_version": "1.2.6",
            "algorithm": "sha256d",
            "hr_measure": "GH/s",
            "serial": "VN0001",
            "system": {"network_status": network, "uptime": "1 day, 2:03"},
        },
        "perf_summary": {"current_preset": {"name": "3250", "pretty": "3250 watt ~ 110 TH"}},
        "presets": [
            {"name": "disabled", "pretty": "Disabled", "status": "untuned", "modded_psu_required": False},
            {"name": "2700", "pretty": "2700 watt ~ 97 TH", "status": "tuned", "modded_psu_required": False},
            {"name": "3250", "pretty": "3250 watt ~ 110 TH", "status": "tuned", "modded_psu_required": False},
            {"name": "4100", "pretty": "4100 watt ~ 127 TH", "status": "untuned", "modded_psu_required": True},
        ],
    }


def _mara() -> dict[str, Any]:
    boards = [
        {
            "index": i,
            "status": "Alive",
            "asic_num": 110,
            "hashrate_average": 46_000.5,
            "serial_number": f"HB{i}",
            "temperature_pcb": [50 + i, 60 + i],
            "temperature_chip": [70 + i, 80 + i],
        }
        for i in range(3)
    ]
    pool = {
        "index": 0,
        "url": "stratum+tcp://pool.example.com:3333",
        "user": ACCOUNT,
        "status": "Alive",
        "priority": 0,
        "accepted": 700,
        "rejected": 4,
        "stale": 2,
    }
    return {
        "brief": {
            "elapsed": 86_400,
            "hashrate_realtime": 138.5,
            "hashrate_average": 137.25,
            "hashrate_ideal": 140_000.0,
            "power_consumption_estimated": 3010.5,
            "status": "Mining",
            "work_mode": "Auto",
            "temperature": 62,
        },
        "hashboards": {"hashboards": boards},
        "pools": [
            pool,
            {
                **pool,
                "index": 1,
                "url": "stratum+tcp://backup.example:3333",
                "status": "Dead",
                "priority": 1,
                "accepted": 0,
                "rejected": 0,
                "stale": 0,
            },
        ],
        "fans": {"fans": [{"index": i, "current_speed": 5500 + i} for i in range(4)]},
        "overview": {"model": "Antminer S19 XP", "version_firmware": "2024.8.1", "mac": "02:00:5E:30:00:03"},
        "miner_config": {
            "mode": {"work-mode-selector": "Auto", "concorde": {"power-target": 3000}},
            "pools": [{"url": "stratum+tcp://pool.example.com:3333", "user": ACCOUNT, "pass": PASSWORD}],
        },
        "network_config": {"hostname": "mara-3"},
    }


def _elphapex() -> dict[str, Any]:
    """With thermometers on its board: the recorded machine shows a constant in their place."""
    replies = captured("elphapex-stock")
    replies["stats"]["STATS"][0]["chain"][3]["temp_pcb"] = [41, 42, 61, 60]
    return replies


def _with(replies: dict[str, Any], **more: Any) -> dict[str, Any]:
    return replies | copy.deepcopy(more)


_MAKERS: dict[str, tuple[str, Any, bool]] = {
    "antminer": ("antminer", lambda: captured("antminer-stock-2022", "version", "summary", "stats", "pools"), False),
    "antminer_web": (
        "antminer",
        lambda: _with(captured("antminer-stock-2022", "version", "summary", "stats", "pools"), **_ANTMINER_PAGES),
        False,
    ),
    "hiveon": ("hiveon", _hiveon, False),
    "whatsminer": (
        "whatsminer",
        lambda: _with(captured("whatsminer-v1", "summary", "devs", "pools", "status", "get_version"), **_WHATSMINER_V2),
        True,
    ),
    "whatsminer_v3": (
        "whatsminer_v3",
        lambda: captured("whatsminer-v3", "get_miner_status_summary", "get_device_info", "get_miner_status_pools"),
        False,
    ),
    "avalon": ("avalon", _a1566, False),
    "avalon_q": ("avalon", lambda: captured("avalon-q-stock", "version", "summary", "litestats", "pools"), False),
    "luxos": (
        "luxos",
        lambda: captured("luxos-2025.4", "version", "summary", "power", "config", "devs", "fans", "pools"),
        True,
    ),
    "braiins": ("braiins", _bosminer, True),
    "braiins_gql": (
        "braiins",
        lambda: captured("braiins-25.05-graphql", "version", "gql_system", "gql_boards", "gql_pools", "gql_tuning"),
        False,
    ),
    "braiins_rest": (
        "braiins_rest",
        lambda: captured(
            "braiins-25.07-rest",
            "miner_stats",
            "miner_details",
            "miner_hw_hashboards",
            "cooling_state",
            "pools",
            "performance_tuner_state",
        ),
        False,
    ),
    "vnish": ("vnish", _vnish, False),
    "mara": ("mara", _mara, False),
    "epic": ("epic", _epic, False),
    "auradine": ("auradine", lambda: captured("auradine-fluxos"), False),
    "sealminer": (
        "sealminer",
        lambda: _with(captured("sealminer-stock-2025"), pools=rpc("POOLS", pool_rows("pool.example.com"), 7)),
        True,
    ),
    "axeos": ("axeos", lambda: captured("bitaxe-axeos-2.4"), False),
    "proto": ("proto", lambda: captured("proto-1.8-simulator"), False),
    "elphapex": ("elphapex", _elphapex, False),
}

NAMES = tuple(_MAKERS)


@cache
def machine(name: str) -> Machine:
    key, replies, joins = _MAKERS[name]
    return Machine(key, replies(), joins)


def replies_of(name: str) -> dict[str, Any]:
    """Decoded replies to edit."""
    return copy.deepcopy(dict(machine(name).replies))


def encoded(reply: Any) -> bytes:
    """As most firmware sends it: no blanks."""
    return json.dumps(reply, separators=(",", ":")).encode()
