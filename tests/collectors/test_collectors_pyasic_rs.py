"""pyasic_rs where it is missing, and what becomes of its answers; its manners: test_collectors_library_connections.

The library's own types are built from the documents that it dumps, so nothing here opens a connection.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

import pytest

from collectors.catalogue import open_device
from collectors.miners.pyasic_rs_adapter import Slow, to_reading
from fleet.ports import PollError
from fleet.readings import FaultKind, MachineError, OperatingState, Sensor, Temperature

pyasic_rs_data = pytest.importorskip("pyasic_rs.data")

RATE = {"value": 59.75606, "unit": "TH/s", "algo": "SHA256"}
BOARD = {
    "position": 1, "hashrate": RATE, "expected_hashrate": None, "board_temperature": 40.5,
    "inlet_chip_temperature": 41.0, "outlet_chip_temperature": 55.5, "expected_chips": 77, "working_chips": 77,
    "serial_number": None, "chips": [], "voltage": None, "frequency": None, "tuned": None, "active": True,
}  # fmt: skip
POOL = {
    "position": 0, "url": "stratum+tcp://Pool.Example:3333", "accepted_shares": 724, "rejected_shares": 3,
    "last_share_time": None, "active": True, "alive": True, "user": "account.worker",
}  # fmt: skip
DATA: dict[str, Any] = {
    "schema_version": "0.8.6", "timestamp": 1795332483, "ip": "10.0.0.7", "mac": "62:F7:5E:B7:10:46",
    "device_info": {
        "make": "Antminer", "model": "S19KPro", "hardware": {"fans": 4, "boards": [77]}, "firmware": "LuxOS",
        "algo": "SHA256",
    },
    "serial_number": None, "hostname": None, "api_version": None, "firmware_version": None,
    "control_board_version": None, "expected_hashboards": 3, "hashboards": [BOARD], "hashrate": RATE,
    "expected_hashrate": {"value": 61954.2, "unit": "GH/s", "algo": "SHA256"}, "expected_chips": 231,
    "total_chips": 231, "expected_fans": 4, "fans": [{"position": 0, "rpm": 1920.0}, {"position": 1, "rpm": None}],
    "psu_fans": [], "average_temperature": 78.0, "fluid_temperature": 25.5, "outlet_fluid_temperature": 0.0,
    "wattage": 1051.0, "tuning_percent": None, "tuning_target": None, "scaled_tuning_target": None,
    "tuning_capabilities": None, "efficiency": None, "light_flashing": None, "messages": [],
    "uptime": timedelta(seconds=3453), "is_mining": True, "operating_state": None, "devfee_connected": None,
    "pools": [{"name": "", "quota": 1, "pools": [POOL]}], "best_share": None, "session_best_share": None,
}  # fmt: skip


def answer(**changes: Any) -> Any:
    return pyasic_rs_data.MinerData.model_validate(DATA | changes)


def test_an_answer_is_read_without_its_defaults() -> None:
    slow = Slow(mac="62f75eb71046", firmware="2025.4.8", power_limit_w=1188.0, errors=(MachineError("7", "fan lost"),))
    reading = to_reading(answer(), slow)
    assert (reading.driver, reading.make, reading.model) == ("pyasic_rs", "Antminer", "S19KPro")
    assert (reading.mac, reading.firmware, reading.algorithm) == ("62f75eb71046", "2025.4.8", "sha256")
    assert reading.hashrate_hs == pytest.approx(59.75606e12)
    assert (reading.hashrate_window_s, reading.hashrate_key) == (5.0, "pyasic_rs:LuxOS.hashrate")
    assert reading.hashrate_expected_hs == pytest.approx(61.9542e12)
    assert (reading.reported_power_w, reading.power_side) == (1051.0, "model")
    assert reading.power_limit_w == 1188.0
    assert set(reading.temperatures) == {
        Temperature(Sensor.BOARD, 1, 40.5),
        Temperature(Sensor.CHIP, 1, 55.5),
        Temperature(Sensor.INLET, 0, 25.5),
    }  # neither the average, which may be a regulator's, nor 0 degrees of coolant
    assert reading.fans_rpm == (pytest.approx(1920.0), None)
    assert reading.uptime_s == 3453.0
    assert (reading.shares_accepted, reading.shares_rejected) == (724.0, 3.0)
    assert (reading.pool_host, reading.pool_alive) == ("pool.example", True)
    assert reading.errors == (MachineError("7", "fan lost"),)
    assert reading.state is OperatingState.MINING


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"hashrate": None}, OperatingState.UNKNOWN),  # is_mining says True all the same
        ({"hashrate": RATE | {"value": 0.0}}, OperatingState.IDLE),
        ({"hashrate": RATE | {"value": 0.0}, "operating_state": {"type": "Suspended"}}, OperatingState.SLEEPING),
        ({"hashrate": RATE | {"value": 0.0}, "operating_state": {"type": "Tuning"}}, OperatingState.WARMING_UP),
        ({"hashrate": RATE | {"value": 0.0}, "operating_state": {"type": "Error"}}, OperatingState.FAULTED),
        ({"operating_state": {"type": "Tuning"}}, OperatingState.WARMING_UP),
    ],
)
def test_the_state_is_what_the_evidence_says(changes: dict[str, Any], state: OperatingState) -> None:
    assert to_reading(answer(**changes)).state is state


def test_zero_watts_are_missing() -> None:
    reading = to_reading(answer(wattage=0.0))
    assert (reading.reported_power_w, reading.power_side, reading.power_key) == (None, None, None)


async def test_where_it_is_not_installed_that_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyasic_rs", None)
    with pytest.raises(PollError) as caught:
        await open_device("pyasic_rs", "127.0.0.1", 4028, 1.0).read()
    assert caught.value.kind is FaultKind.UNSUPPORTED
    assert caught.value.detail == "pyasic_rs is not installed"
