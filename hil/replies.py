"""What machines say on port 4028: stock Antminer and WhatsMiner v1/v2 replies with the scene's numbers in them.

A reply is a JSON document with slots, compiled once per model into one %-template; answering is then one format
operation. Slots are strings: "#name:.2f#" alone stands for a number, "~name:s~" inside a longer string for a part of
it. Shapes (keys, types, units, terminators) are those of recorded machines; orders of keys are free.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from hil.physics import Model
from hil.scene import Scene

POOL_HOST = "pool.example"
POOL_USER = "farm"
POOL_DIFFICULTY = 65536
HASHES_PER_SHARE = POOL_DIFFICULTY * 2.0**32
JOINABLE = ("summary", "devs", "edevs", "pools", "devdetails")

Numbers = dict[str, Any]

_NUMBER_SLOT = re.compile(r'"#(\w+):([^#"]+)#"')
_TEXT_SLOT = re.compile(r"~(\w+):([^~\"]+)~")


def compile_reply(document: Mapping[str, Any]) -> str:
    """The %-template of one JSON document with slots."""
    text = json.dumps(document, separators=(",", ":")).replace("%", "%%")
    return _TEXT_SLOT.sub(r"%(\1)\2", _NUMBER_SLOT.sub(r"%(\1)\2", text))


# ---------------------------------------------------------------------------------------------------------------------
# Numbers of one machine


def session_numbers(scene: Scene, row: int) -> Numbers:
    """What every dialect reports of a running session: rates in H/s as they are, counters since the API came up."""
    view = scene.view
    elapsed = view.api_s[row]
    hashes = view.hashes[row]
    reject = scene.reject_ratio[row]
    accepted = int(hashes * (1.0 - reject) / HASHES_PER_SHARE)
    rejected = int(hashes * reject / HASHES_PER_SHARE)
    solutions = hashes / 2.0**32
    board = view.board_c[row]
    wall = view.wall_w[row]
    rpm = int(view.fan_rpm[row]) // 30 * 30
    is_mining = view.mining_s[row] > 0.0
    numbers: Numbers = {
        "when": view.when,
        "elapsed": int(elapsed),
        "uptime": int(view.state.powered_s[row]),
        "accepted": accepted,
        "rejected": rejected,
        "difficulty_accepted": accepted * POOL_DIFFICULTY,
        "difficulty_rejected": rejected * POOL_DIFFICULTY,
        "rejected_percent": 100.0 * rejected / (accepted + rejected) if accepted + rejected else 0.0,
        "getworks": int(elapsed / 12.8),
        "work": int(solutions / 14.0),
        "discarded": int(elapsed * 89.7),
        "errors": int(solutions * 4.3e-7 * (1 + row % 3)),
        "best": accepted * POOL_DIFFICULTY * 7 + 4096,
        "blocks": int(elapsed / 600.0),
        "total_mh": hashes / 1e6,
        "utility": 60.0 * accepted / elapsed if elapsed else 0.0,
        "work_utility": 60.0 * solutions / elapsed if elapsed else 0.0,
        "share_at": view.when - 3 if accepted else 0,
        "share_age": "0:00:03" if accepted else "0",
        "board": board,
        "fan_in": rpm,
        "fan_out": max(rpm - 120, 0),
        "wall": wall,
        "is_mining": is_mining,
        "av": hashes / elapsed if elapsed else 0.0,
        "row": row,
        "mac": machine_mac(row),
    }
    for window, column in view.rates_hs.items():
        numbers["r" + window] = column[row]
    return numbers


def machine_mac(row: int) -> str:
    """A locally administered MAC, different for every row."""
    return f"C6:08:28:{row >> 16 & 0xFF:02X}:{row >> 8 & 0xFF:02X}:{row & 0xFF:02X}"


# ---------------------------------------------------------------------------------------------------------------------
# Stock Antminer, bmminer of 2022

_BOARD_SHARES = (0.340, 0.322, 0.338)
_BOARD_OFFSETS_C = (0.0, 1.0, -1.0)


def _antminer_status(code: int, message: str, letter: str = "S") -> list[dict[str, Any]]:
    return [{"STATUS": letter, "When": "#when:d#", "Code": code, "Msg": message, "Description": "cgminer 1.0.0"}]


def _antminer_identity(model: Model) -> dict[str, Any]:
    return {
        "BMMiner": "1.0.0",
        "Miner": "49.0.1.3",
        "CompileTime": "Tue Dec  6 16:12:30 CST 2022",
        "Type": model.wire_name,
    }


def _antminer_version(model: Model) -> dict[str, Any]:
    identity = _antminer_identity(model)
    return {
        "STATUS": _antminer_status(22, "CGMiner versions"),
        "VERSION": [{"BMMiner": identity.pop("BMMiner"), "API": "3.1", **identity}],
        "id": 1,
    }


def _antminer_summary(model: Model) -> dict[str, Any]:
    row = {
        "Elapsed": "#elapsed:d#",
        "GHS 5s": "#ghs5s:.2f#",
        "GHS av": "#ghsav:.2f#",
        "GHS 30m": "#ghs30m:.2f#",
        "Found Blocks": 0,
        "Getwork": "#getworks:d#",
        "Accepted": "#accepted:d#",
        "Rejected": "#rejected:d#",
        "Hardware Errors": "#errors:d#",
        "Utility": "#utility:.2f#",
        "Discarded": "#discarded:d#",
        "Stale": 0,
        "Get Failures": 0,
        "Local Work": "#work:d#",
        "Remote Failures": 0,
        "Network Blocks": "#blocks:d#",
        "Total MH": "#total_mh:.4f#",
        "Work Utility": "#work_utility:.2f#",
        "Difficulty Accepted": "#difficulty_accepted:.8f#",
        "Difficulty Rejected": "#difficulty_rejected:.8f#",
        "Difficulty Stale": 0.0,
        "Best Share": "#best:d#",
        "Device Hardware%": 0.0,
        "Device Rejected%": "#rejected_percent:.4f#",
        "Pool Rejected%": "#rejected_percent:.4f#",
        "Pool Stale%": 0.0,
        "Last getwork": "#when:d#",
    }
    return {"STATUS": _antminer_status(11, "Summary"), "SUMMARY": [row], "id": 1}


def _antminer_stats(model: Model) -> dict[str, Any]:
    chips = model.chips_per_board
    row: dict[str, Any] = {
        "STATS": 0,
        "ID": "BTM_SOC0",
        "Elapsed": "#elapsed:d#",
        "Calls": 0,
        "Wait": 0,
        "Max": 0,
        "Min": 99999999,
        "GHS 5s": "#ghs5s:.2f#",
        "GHS av": "#ghsav:.2f#",
        "rate_30m": "#ghs30m:.2f#",
        "Mode": 2,
        "miner_count": model.boards,
        "frequency": "#freq:d#",
        "fan_num": 4,
        "fan1": "#fan_in:d#",
        "fan2": "#fan_in:d#",
        "fan3": "#fan_out:d#",
        "fan4": "#fan_out:d#",
        "temp_num": model.boards,
        "temp1": "#temp1:d#",
        "temp2": "#temp2:d#",
        "temp3": "#temp3:d#",
        "temp2_1": "#chip1:d#",
        "temp2_2": "#chip2:d#",
        "temp2_3": "#chip3:d#",
    }
    for i in range(1, 5):
        is_fitted = i <= model.boards
        row |= {
            f"freq{i}": "#freq:d#" if is_fitted else 0,
            f"chain_acn{i}": chips if is_fitted else 0,
            f"chain_acs{i}": _chip_map(chips) if is_fitted else "",
            f"chain_hw{i}": f"#hw{i}:d#" if is_fitted else 0,
            f"chain_rate{i}": f"~rate{i}:.2f~" if is_fitted else "",
            f"temp_pcb{i}": f"~in{i}:d~-~in{i}:d~-~temp{i}:d~-~temp{i}:d~" if is_fitted else "0-0-0-0",
            f"temp_chip{i}": f"~chin{i}:d~-~chin{i}:d~-~chip{i}:d~-~chip{i}:d~" if is_fitted else "0-0-0-0",
            f"temp_pic{i}": f"~pic{i}:d~-~pic{i}:d~-~pic{i}:d~-~pic{i}:d~" if is_fitted else "0-0-0-0",
        }
    row |= {
        "total_rateideal": float(model.hashrate_th * 1000),
        "rate_unit": "GH",
        "total_freqavg": "#freq:d#",
        "total_acn": chips * model.boards,
        "total rate": "#ghsav:.2f#",
        "temp_max": 0,
        "no_matching_work": "#errors:d#",
        "miner_version": "49.0.1.3",
        "miner_id": "~id:016x~",
    }
    return {"STATUS": _antminer_status(70, "CGMiner stats"), "STATS": [_antminer_identity(model), row], "id": 1}


def _chip_map(chips: int) -> str:
    return " " + " ".join("o" * min(3, chips - i) for i in range(0, chips, 3))


def _antminer_pools(model: Model) -> dict[str, Any]:
    def pool(index: int, is_used: bool) -> dict[str, Any]:
        def live(slot: object, unused: object) -> object:
            return slot if is_used else unused

        return {
            "POOL": index,
            "URL": f"stratum+tcp://{POOL_HOST}:3333",
            "Status": "Alive",
            "Priority": index,
            "Quota": 1,
            "Long Poll": "N",
            "Getworks": live("#getworks:d#", 3),
            "Accepted": live("#accepted:d#", 0),
            "Rejected": live("#rejected:d#", 0),
            "Discarded": live("#discarded:d#", 0),
            "Stale": 0,
            "Get Failures": 0,
            "Remote Failures": 0,
            "User": f"{POOL_USER}.~row:05d~",
            "Last Share Time": live("~share_age:s~", "0"),
            "Diff": live("65.5K", ""),
            "Diff1 Shares": 0,
            "Proxy Type": "",
            "Proxy": "",
            "Difficulty Accepted": live("#difficulty_accepted:.8f#", 0.0),
            "Difficulty Rejected": live("#difficulty_rejected:.8f#", 0.0),
            "Difficulty Stale": 0.0,
            "Last Share Difficulty": live(float(POOL_DIFFICULTY), 0.0),
            "Has Stratum": True,
            "Stratum Active": is_used,
            "Stratum URL": POOL_HOST if is_used else "",
            "Has GBT": False,
            "Best Share": live("#best:.1f#", 0.0),
            "Pool Rejected%": live("#rejected_percent:.4f#", 0.0),
            "Pool Stale%%": 0.0,
        }

    return {
        "STATUS": _antminer_status(7, "3 Pool(s)"),
        "POOLS": [pool(i, is_used=i == 0) for i in range(3)],
        "id": 1,
    }


def _antminer_devs(model: Model) -> dict[str, Any]:
    # The real one is as useless: no rate, no temperature, and the key is misspelt.
    row = {
        "ASC": 0,
        "Name": "BTM_SOC",
        "ID": 0,
        "Enabled": "Y",
        "Status": "Alive",
        "Tenperature": 0.0,
        "MHS av": 0.0,
        "MHS 5s": 0.0,
        "Accepted": "#accepted:d#",
        "Rejected": "#rejected:d#",
        "Hardware Errors": 0,
        "Utility": 0.0,
        "Last Share Pool": 0,
        "Last Share Time": "#share_at:d#",
        "Total MH": 0.0,
        "Diff1 Work": 0,
        "Difficulty Accepted": "#difficulty_accepted:d#",
        "Difficulty Rejected": "#difficulty_rejected:d#",
        "Last Share Difficulty": "#best:d#",
        "Last Valid Work": "#when:d#",
        "Device Hardware%": 0.0,
        "Device Rejected%": 0.0,
        "Device Elapsed": "#elapsed:d#",
    }
    return {"STATUS": _antminer_status(9, "1 ASC(s)"), "DEVS": [row], "id": 1}


def _antminer_numbers(scene: Scene, row: int) -> Numbers:
    numbers = session_numbers(scene, row)
    board, model = numbers["board"], scene.build.models[row]
    chip = board + 12.0 * numbers["wall"] / model.wall_w
    # Whole degrees as the firmware prints them; air comes in at the room's temperature plus a little.
    inlet = min(board, scene.view.state.ambient_c + 20.0 * numbers["wall"] / model.wall_w)
    now = numbers["r5s"] / 1e9
    numbers |= {
        "ghs5s": now,
        "ghs30m": numbers["r30m"] / 1e9,
        "ghsav": numbers["av"] / 1e9,
        "freq": int(525 * min(scene.view.mining_s[row] / scene.warmup_s[row], 1.0)) if scene.warmup_s[row] else 525,
        "id": 0x8144D5CA00000000 + row,
    }
    for i, (share, offset) in enumerate(zip(_BOARD_SHARES, _BOARD_OFFSETS_C, strict=True), start=1):
        numbers[f"rate{i}"] = now * share
        numbers[f"hw{i}"] = numbers["errors"] // 3
        numbers[f"temp{i}"] = round(board + offset)
        numbers[f"chip{i}"] = round(chip + offset)
        numbers[f"in{i}"] = round(inlet + offset)
        numbers[f"chin{i}"] = round(inlet + offset + chip - board)
        numbers[f"pic{i}"] = round(inlet + offset - 3)
    return numbers


# ---------------------------------------------------------------------------------------------------------------------
# WhatsMiner v1 (btminer of 2021) and v2 (of 2023)

_FIRMWARE = {"whatsminer-v1": "20210322.22.REL", "whatsminer-v2": "20230803.11.REL"}
_API = {"whatsminer-v1": "whatsminer v1.4.0", "whatsminer-v2": "whatsminer v2.0.5"}


def _is_v2(model: Model) -> bool:
    return model.dialect == "whatsminer-v2"


def _whatsminer_status(code: int, message: str, letter: str = "S") -> list[dict[str, Any]]:
    return [{"STATUS": letter, "When": "#when:d#", "Code": code, "Msg": message, "Description": "cgminer 4.9.2"}]


def _message(model: Model, payload: object) -> dict[str, Any]:
    """The envelope of `get_*` and `status`, whose STATUS is a string."""
    return {"STATUS": "S", "When": "#when:d#", "Code": 131, "Msg": payload, "Description": _API[model.dialect]}


def _whatsminer_summary(model: Model) -> dict[str, Any]:
    row: dict[str, Any] = {
        "Elapsed": "#elapsed:d#",
        "MHS av": "#mhsav:.2f#",
        "MHS 5s": "#mhs5s:.2f#",
        "MHS 1m": "#mhs1m:.2f#",
        "MHS 5m": "#mhs5m:.2f#",
        "MHS 15m": "#mhs15m:.2f#",
        "HS RT": "#mhs5m:.2f#",  # equals MHS 5m exactly on a recorded v1 machine
        "Found Blocks": 0,
        "Getworks": "#getworks:d#",
        "Accepted": "#accepted:d#",
        "Rejected": "#rejected:d#",
        "Hardware Errors": "#errors:d#",
        "Utility": "#utility:.2f#",
        "Discarded": "#discarded:d#",
        "Stale": 0,
        "Get Failures": 0,
        "Local Work": "#work:d#",
        "Remote Failures": 0,
        "Network Blocks": "#blocks:d#",
        "Total MH": "#total_mh:.4f#",
        "Work Utility": "#work_utility:.2f#",
        "Difficulty Accepted": "#difficulty_accepted:.8f#",
        "Difficulty Rejected": "#difficulty_rejected:.8f#",
        "Difficulty Stale": 0.0,
        "Best Share": "#best:d#",
        "Temperature": "#board:.2f#",
        "freq_avg": "#freq:d#",
        "Fan Speed In": "#fan_in:d#",
        "Fan Speed Out": "#fan_out:d#",
        "Voltage": 1180,
        "Power": "#power:d#",
        "Power_RT": "#power_rt:d#",
        "Power Current": "#amps:d#",
        "Power Fanspeed": "#psu_rpm:d#",
        "Device Hardware%": 0.011,
        "Device Rejected%": "#rejected_percent:.4f#",
        "Pool Rejected%": "#rejected_percent:.4f#",
        "Pool Stale%": 0.0,
        "Last getwork": 0,
        "Uptime": "#uptime:d#",
        "Security Mode": 0,
        "Hash Stable": "#is_stable:s#",
        "Hash Stable Cost Seconds": "#ramp_s:d#",
        "Hash Deviation%": 0.1061,
        "Target Freq": 625,
        "Target MHS": int(model.hashrate_th * 1e6),
        "Power Mode": "Normal",
        "Firmware Version": f"'{_FIRMWARE[model.dialect]}'",
        "CB Platform": "ALLWINNER_H3",
        "CB Version": "V8",
        "MAC": "~mac:s~",
        "Factory GHS": int(model.hashrate_th * 1e3),
        "Power Limit": int(model.wall_w * 1.02),
        "Chip Temp Min": "#chip_min:.2f#",
        "Chip Temp Max": "#chip_max:.2f#",
        "Chip Temp Avg": "#chip:.2f#",
        "Chip Data": "HP5A01-19101436   BINV04-192101D",
        "Error Code Count": 0,
        "Factory Error Code Count": 0,
        "Liquid Cooling": False,
    }
    if _is_v2(model):
        row |= {"Env Temp": "#ambient:.2f#", "Power Rate": "#power_rate:.2f#", "Btminer Fast Boot": "disable"}
    return {"STATUS": _whatsminer_status(11, "Summary"), "SUMMARY": [row], "id": 1}


def _whatsminer_devs(model: Model) -> dict[str, Any]:
    def board(i: int) -> dict[str, Any]:
        row: dict[str, Any] = {
            "ASC": i,
            "Slot": i,
            "Name": "SM",
            "ID": i,
            "Enabled": "Y",
            "Status": "Alive",
            "Temperature": f"#board{i}:.2f#",
            "Chip Frequency": "#freq:d#",
            "Fan Speed In": "#fan_in:d#",
            "Fan Speed Out": "#fan_out:d#",
            "MHS av": f"#b{i}av:.2f#",
            "MHS 5s": f"#b{i}5s:.2f#",
            "MHS 1m": f"#b{i}1m:.2f#",
            "MHS 5m": f"#b{i}5m:.2f#",
            "MHS 15m": f"#b{i}15m:.2f#",
            "Accepted": "#board_accepted:d#",
            "Rejected": 0,
            "Hardware Errors": "#board_errors:d#",
            "Utility": "#board_utility:.2f#",
            "Last Share Pool": 0,
            "Last Share Time": "#share_at:d#",
            "Total MH": "#board_mh:.1f#",
            "Diff1 Work": "#board_solutions:d#",
            "Difficulty Accepted": "#board_difficulty:.8f#",
            "Difficulty Rejected": 0.0,
            "Last Share Difficulty": float(POOL_DIFFICULTY),
            "Last Valid Work": "#when:d#",
            "Device Hardware%": 0.0072,
            "Device Rejected%": 0.0,
            "Device Elapsed": "#elapsed:d#",
            "Upfreq Complete": "#is_ramped:d#",
            "Effective Chips": model.chips_per_board,
            "PCB SN": f"HIL00000000B{i}-~row:05d~",
            "Chip Temp Min": "#chip_min:.2f#",
            "Chip Temp Max": "#chip_max:.2f#",
            "Chip Temp Avg": "#chip:.2f#",
        }
        if _is_v2(model):
            row["Factory GHS"] = int(model.hashrate_th * 1e3 / model.boards)
        return row

    return {
        "STATUS": _whatsminer_status(9, f"{model.boards} ASC(s)"),
        "DEVS": [board(i) for i in range(model.boards)],
        "id": 1,
    }


def _whatsminer_pools(model: Model) -> dict[str, Any]:
    def pool(index: int, is_used: bool) -> dict[str, Any]:
        def live(slot: object, unused: object) -> object:
            return slot if is_used else unused

        return {
            "POOL": index,
            "URL": f"stratum+tcp://{POOL_HOST}:3333",
            "Status": "Alive",
            "Priority": index - 1,
            "Quota": 1,
            "Long Poll": "N",
            "Getworks": live("#getworks:d#", 0),
            "Accepted": live("#accepted:d#", 0),
            "Rejected": live("#rejected:d#", 0),
            "Works": live("#work:d#", 0),
            "Discarded": live("#discarded:d#", 0),
            "Stale": 0,
            "Get Failures": 0,
            "Remote Failures": 0,
            "User": f"{POOL_USER}.~row:05d~",
            "Last Share Time": live("#share_at:d#", 0),
            "Diff1 Shares": live("#board_solutions:d#", 0),
            "Proxy Type": "",
            "Proxy": "",
            "Difficulty Accepted": live("#difficulty_accepted:.8f#", 0.0),
            "Difficulty Rejected": live("#difficulty_rejected:.8f#", 0.0),
            "Difficulty Stale": 0.0,
            "Last Share Difficulty": float(POOL_DIFFICULTY) if is_used else 0.0,
            "Work Difficulty": 0.0,
            "Has Stratum": True,
            "Stratum Active": is_used,
            "Stratum URL": POOL_HOST,
            "Stratum Difficulty": float(POOL_DIFFICULTY) if is_used else 0.0,
            "Has GBT": False,
            "Best Share": live("#best:d#", 0),
            "Pool Rejected%": live("#rejected_percent:.4f#", 0.0),
            "Pool Stale%": 0.0,
            "Bad Work": live("#errors:d#", 0),
            "Current Block Height": live("#height:d#", 0),
            "Current Block Version": 536870912 if is_used else 0,
        }

    return {
        "STATUS": _whatsminer_status(7, "3 Pool(s)"),
        "POOLS": [pool(i, is_used=i == 1) for i in range(1, 4)],
        "id": 1,
    }


def _whatsminer_devdetails(model: Model) -> dict[str, Any]:
    rows = [
        {"DEVDETAILS": i, "Name": "SM", "ID": i, "Driver": "bitmicro", "Kernel": "", "Model": model.wire_name}
        for i in range(model.boards)
    ]
    return {"STATUS": _whatsminer_status(69, "Device Details"), "DEVDETAILS": rows, "id": 1}


def _whatsminer_state(model: Model) -> dict[str, Any]:
    version = f"'{_FIRMWARE[model.dialect]}'"
    if not _is_v2(model):
        return _message(model, {"btmineroff": "~is_off:s~", "Firmware Version": version})
    return _message(
        model,
        {
            "mineroff": "~is_off:s~",
            "mineroff_reason": "",
            "mineroff_time": "",
            "FirmwareVersion": version,
            "power_mode": "normal",
            "hash_percent": "",
        },
    )


def _whatsminer_get_version(model: Model) -> dict[str, Any]:
    payload = {"api_ver": _API[model.dialect], "fw_ver": _FIRMWARE[model.dialect]}
    if _is_v2(model):
        payload = {"api_ver": "2.0.5", "fw_ver": _FIRMWARE[model.dialect], "platform": "H616", "chip": "K19"}
    return _message(model, payload)


def _whatsminer_get_psu(model: Model) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "name": "P21",
        "hw_version": "",
        "sw_version": "102220.009",
        "model": "P21-12-3600-E",
    }
    if _is_v2(model):
        payload |= {"fan_speed": "~psu_rpm:d~", "serial_no": "HILPSU~row:05d~", "vendor": "1", "vin": "24000"}
    return _message(model, payload)


def _whatsminer_get_miner_info(model: Model) -> dict[str, Any]:
    payload = {
        "hostname": "WhatsMiner",
        "proto": "dhcp",
        "mac": "~mac:s~",
        "ledstat": "auto",
        "minersn": "HIL~row:05d~",
    }
    return _message(model, payload)


def _whatsminer_numbers(scene: Scene, row: int) -> Numbers:
    numbers = session_numbers(scene, row)
    model = scene.build.models[row]
    board, wall = numbers["board"], numbers["wall"]
    power = wall * scene.firmware_ratio[row]
    warmup_s = scene.warmup_s[row]
    ramp = min(scene.view.mining_s[row] / warmup_s, 1.0) if warmup_s else 1.0
    chip = board + 12.0 * wall / model.wall_w
    numbers |= {
        "power": round(power),
        "power_rt": round(power * (1.0 + (row % 7 - 3) * 1e-3)),
        "amps": round(power * 0.9 / 11.8),
        "power_rate": power / (numbers["r5m"] / 1e12) if numbers["r5m"] > 0 else 0.0,
        "psu_rpm": 9060 if numbers["is_mining"] else 2400,
        "freq": int(648 * ramp),
        "is_stable": "true" if ramp >= 1.0 else "false",
        "is_ramped": int(ramp >= 1.0),
        "ramp_s": int(min(warmup_s, scene.view.mining_s[row])),
        "is_off": "false" if scene.orders.awake[row] else "true",
        "ambient": scene.view.state.ambient_c,
        "chip": chip,
        "chip_min": chip - 6.0,
        "chip_max": chip + 8.0,
        "height": 935_140,
        "mhsav": numbers["av"] / 1e6,
        "board_accepted": numbers["accepted"] // 3,
        "board_errors": numbers["errors"] // 3,
        "board_utility": numbers["utility"] / 3,
        "board_mh": numbers["total_mh"] / 3,
        "board_solutions": int(numbers["total_mh"] * 1e6 / 2**32 / 3),
        "board_difficulty": numbers["accepted"] // 3 * POOL_DIFFICULTY,
    }
    for window in ("5s", "1m", "5m", "15m"):
        numbers["mhs" + window] = numbers["r" + window] / 1e6
    for i, (share, offset) in enumerate(zip(_BOARD_SHARES, _BOARD_OFFSETS_C, strict=True)):
        numbers[f"board{i}"] = board + offset
        for window in ("av", "5s", "1m", "5m", "15m"):
            numbers[f"b{i}{window}"] = numbers["mhs" + window] * share
    return numbers


# ---------------------------------------------------------------------------------------------------------------------
# From request to reply

_ANTMINER: Mapping[str, Callable[[Model], dict[str, Any]]] = {
    "version": _antminer_version,
    "summary": _antminer_summary,
    "stats": _antminer_stats,
    "pools": _antminer_pools,
    "devs": _antminer_devs,
}
_WHATSMINER_V1: Mapping[str, Callable[[Model], dict[str, Any]]] = {
    "summary": _whatsminer_summary,
    "devs": _whatsminer_devs,
    "edevs": _whatsminer_devs,
    "pools": _whatsminer_pools,
    "devdetails": _whatsminer_devdetails,
    "status": _whatsminer_state,
    "get_version": _whatsminer_get_version,
    "get_psu": _whatsminer_get_psu,
}
_COMMANDS: Mapping[str, Mapping[str, Callable[[Model], dict[str, Any]]]] = {
    "antminer": _ANTMINER,
    "whatsminer-v1": _WHATSMINER_V1,
    "whatsminer-v2": {
        **_WHATSMINER_V1,
        "get_miner_info": _whatsminer_get_miner_info,
        "get_error_code": lambda model: _message(model, {"error_code": []}),
    },
}
_NUMBERS: Mapping[str, Callable[[Scene, int], Numbers]] = {
    "antminer": _antminer_numbers,
    "whatsminer-v1": _whatsminer_numbers,
    "whatsminer-v2": _whatsminer_numbers,
}


@lru_cache(maxsize=256)
def _template(model: Model, command: str) -> str | None:
    build = _COMMANDS[model.dialect].get(command)
    return None if build is None else compile_reply(build(model))


def _refusal(model: Model, when: int, code: int, message: str) -> dict[str, Any]:
    if model.dialect == "antminer":
        status = {"STATUS": "E", "When": when, "Code": code, "Msg": message, "Description": "cgminer 1.0.0"}
        return {"STATUS": [status], "id": 1}
    return {"STATUS": "E", "When": when, "Code": code, "Msg": message, "Description": "btminer"}


def answer(scene: Scene, row: int, request: bytes) -> bytes | None:
    """The whole reply to one request, with the terminator of that firmware; None while the request is incomplete."""
    text = request.strip(b"\0\r\n \t")
    model = scene.build.models[row]
    if not text.startswith(b"{"):
        if not text:
            return None
        # A bare word asks for the old pipe format, which no collector of ours needs.
        return f"STATUS=E,When={scene.view.when},Code=14,Msg=Invalid command,Description=cgminer|\0".encode()
    try:
        asked = json.loads(text)
        command = asked["command"]
    except (ValueError, KeyError):
        if not text.endswith(b"}"):
            return None
        return _wire(model, json.dumps(_refusal(model, scene.view.when, 23, "Invalid JSON")))
    return _wire(model, render(scene, row, str(command)))


def render(scene: Scene, row: int, command: str) -> str:
    """The reply to one command, or to several joined with "+" where the firmware knows that."""
    model = scene.build.models[row]
    template = _template(model, command)
    if template is not None:
        return template % _NUMBERS[model.dialect](scene, row)
    if "+" not in command or model.dialect == "antminer":
        # Stock Antminers take a join for one unknown command.
        return json.dumps(_refusal(model, scene.view.when, 14, "Invalid command"))
    numbers = _NUMBERS[model.dialect](scene, row)
    parts = []
    for name in command.split("+"):
        template = _template(model, name) if name in JOINABLE else None
        if template is None:
            part = json.dumps(_refusal(model, scene.view.when, 14, "Invalid command"))
        else:
            part = template % numbers
        parts.append(f"{json.dumps(name)}:[{part}]")
    return "{" + ",".join(parts) + ',"id":1}'


def _wire(model: Model, text: str) -> bytes:
    return text.encode() + (b"\0" if model.dialect == "antminer" else b"\n")
