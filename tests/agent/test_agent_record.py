"""The journal's codec: what goes in comes out, bit for bit, or it is an error."""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, get_type_hints

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from agent.record import CycleInputs, RecordError, decode, decode_cycle_inputs, encode, encode_cycle_inputs
from fleet.curtailment import Memory, Mode, Policy
from fleet.market import InputState, Market, MarketInput, Quote
from fleet.signals import Signals
from fleet.site import Machine, Nameplate, Site
from fleet.snapshot import FAN_SLOTS, SENSOR_SLOTS, MachineInfo, PduColumns, Snapshot
from fleet.tariff import FlatTariff, PowerPrice


def assert_same(a: Any, b: Any) -> None:
    """Equal in type and value, field by field; NaN equals NaN."""
    if dataclasses.is_dataclass(a) and not isinstance(a, type):
        assert type(a) is type(b)
        for field in dataclasses.fields(a):
            assert_same(getattr(a, field.name), getattr(b, field.name))
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    elif isinstance(a, tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, Mapping):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, float) and math.isnan(a):
        assert math.isnan(b)
    else:
        assert (type(a), a) == (type(b), b)


def column(n: int, hint: Any) -> npt.NDArray[Any]:
    """Some array of the dtype that a Snapshot field asks for."""
    text = str(hint)
    kinds = {"Codes": np.uint8, "Bools": np.bool_, "int32": np.int32}
    dtype = next((d for name, d in kinds.items() if name in text), np.float64)
    values = np.arange(n).astype(dtype)
    if dtype is np.float64 and n:
        values[0] = np.nan
    return values


def make_inputs(n: int = 3) -> CycleInputs:
    machines = tuple(
        Machine(id=f"m{i}", address=f"127.0.0.{i}", hashrate_hs=1e14 if i % 2 else None, never_stop=i == 1)
        for i in range(n)
    )
    plates = MappingProxyType({"s19": Nameplate("S19", 9.5e13, 3250.0)})
    site = Site("north", machines, plates, tariff=FlatTariff(0.06), expected_pools=("pool.example",))
    given_by_hand = {
        "at_s": 1.7e9, "ids": site.ids,
        "infos": tuple(MachineInfo(address=f"127.0.0.{i}", make="Ångström") for i in range(n)),
        "temperature_c": np.full((n, len(SENSOR_SLOTS)), 61.5), "fan_rpm": np.full((n, FAN_SLOTS), np.nan),
        "pdus": PduColumns(ids=("p1",), up=np.array([1.0]), profiles=("apc",), models=("AP8641",)),
    }  # fmt: skip
    columns = {f.name: column(n, f.type) for f in dataclasses.fields(Snapshot) if f.name not in given_by_hand}
    return CycleInputs(
        site=site,
        snapshot=Snapshot(**given_by_hand, **columns),  # type: ignore[arg-type]
        market=Market((Quote(MarketInput.BTC_USD, "fixed", 70000.0, 1.7e9, math.inf, math.inf),)),
        signals=Signals(is_storage_ok=False),
        policy=Policy(mode=Mode.ARMED),
        memory=Memory(site.ids, np.arange(n) % 2 == 1, np.zeros(n), np.ones(n), np.full(n, np.nan), decision=7),
        now_s=1.7e9,
        power=(
            PowerPrice("", 0.05, "time_of_use", InputState.FRESH),
            PowerPrice("b", 0.1, "x", InputState.MISSING, 1e9),
        ),
    )


def as_arguments(inputs: CycleInputs) -> dict[str, Any]:
    return {field.name: getattr(inputs, field.name) for field in dataclasses.fields(inputs)}


@pytest.mark.parametrize("n", [0, 1, 3])
def test_the_arguments_of_a_decision_come_back(n: int) -> None:
    inputs = make_inputs(n)
    assert_same(decode_cycle_inputs(encode_cycle_inputs(**as_arguments(inputs))), inputs)


def test_arrays_come_back_read_only_and_aligned() -> None:
    back = decode(Memory, encode(make_inputs(3).memory))
    assert all(array.flags.aligned for array in (back.loss_usd, back.gain_usd, back.since_s))
    with pytest.raises(ValueError, match="read-only"):
        back.loss_usd[0] = 1.0


floats = hnp.arrays(np.float64, st.integers(0, 40), elements=st.floats(allow_nan=True, allow_infinity=True))


def test_a_snapshot_of_an_older_version_is_read_with_its_later_columns_missing() -> None:
    later = {"hashrate_window_s", "power_limit_w", "error_count", "warning_count", "work_total", "work_ratio",
             "suspect", "is_conflict", "metered_resolution_w", "power_sigma_ratio", "calibration_ratio",
             "calibration_spread_ratio", "meter_doubt"}  # fmt: skip
    snapshot = make_inputs(2).snapshot
    hints = get_type_hints(Snapshot)
    names = [field.name for field in dataclasses.fields(Snapshot) if field.name not in later]
    older_info = dataclasses.make_dataclass("MachineInfo", [(name, str, "") for name in ("address", "make")])
    hints["infos"] = tuple[older_info, ...]  # type: ignore[valid-type]
    first = [field.name for field in dataclasses.fields(PduColumns)]
    first = first[: first.index("serials")]
    pdu_hints = get_type_hints(PduColumns)
    older_pdus = dataclasses.make_dataclass("PduColumns", [(name, pdu_hints[name]) for name in first])
    hints["pdus"] = older_pdus
    older = dataclasses.make_dataclass("Snapshot", [(name, hints[name]) for name in names])
    values = {name: getattr(snapshot, name) for name in names} | {"infos": (older_info("127.0.0.1", "x"),) * 2}
    values["pdus"] = older_pdus(*(getattr(snapshot.pdus, name) for name in first))
    again = decode(Snapshot, encode(older(**values)))
    assert again.infos == (MachineInfo("127.0.0.1", "x"),) * 2
    assert_same(again.hashrate_hs, snapshot.hashrate_hs)
    assert np.isnan(again.work_total).all()
    assert again.is_conflict.tolist() == [False, False]
    assert again.meter_doubt.tolist() == [0, 0]
    assert (again.pdus.models, again.pdus.serials) == (("AP8641",), ("",))


@given(
    loss=floats, at=st.floats(), ids=st.lists(st.text(st.characters(codec=None)), max_size=5), decision=st.integers()
)
def test_any_numbers_and_texts_come_back(
    loss: npt.NDArray[np.float64], at: float, ids: list[str], decision: int
) -> None:
    memory = Memory(ids=tuple(ids), loss_usd=loss, stopped=loss > 0, at_s=at, decision=decision)
    assert_same(decode(Memory, encode(memory)), memory)


@given(st.data())
def test_a_flipped_bit_is_an_error_never_another_number(data: st.DataObject) -> None:
    packed = bytearray(encode(make_inputs().memory))
    bit = data.draw(st.integers(0, len(packed) * 8 - 1))
    packed[bit // 8] ^= 1 << bit % 8
    try:
        back = decode(Memory, bytes(packed))
    except RecordError:
        return
    assert_same(back, make_inputs().memory)  # bits of the zlib header that mean nothing


@given(st.integers(0, 200))
def test_a_cut_record_is_an_error(kept: int) -> None:
    packed = encode_cycle_inputs(**as_arguments(make_inputs()))
    with pytest.raises(RecordError):
        decode_cycle_inputs(packed[: min(kept, len(packed) - 1)])


@dataclass(frozen=True)
class Old:
    watts: float


@dataclass(frozen=True)
class New:
    watts: float
    source: str = "metered"


@dataclass(frozen=True)
class Other:
    watts: str


def test_a_new_field_takes_its_default_and_an_unknown_one_is_refused() -> None:
    assert decode(New, encode(Old(5.0))) == New(5.0, "metered")
    with pytest.raises(RecordError, match="'source'"):
        decode(Old, encode(New(5.0)))


def test_a_value_of_another_type_is_refused() -> None:
    with pytest.raises(RecordError, match="expected str, found float"):
        decode(Other, encode(Old(5.0)))


def test_an_array_of_another_type_is_refused() -> None:
    wrong = Memory(loss_usd=np.zeros(2, np.float32))  # type: ignore[arg-type]
    with pytest.raises(RecordError, match="float64"):
        decode(Memory, encode(wrong))


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.record.MAX_DECODED_BYTES", 1000)
    with pytest.raises(RecordError, match="too long"):
        decode(Memory, b"HWR1" + zlib.compress(bytes(2000)))
