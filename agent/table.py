"""The table in the main process: outcomes write rows, a tick freezes a copy.

A machine's row is found by MAC, then serial, then address; an address is only a place. A failed poll touches nothing
but `up` and `fault`: earlier values stay until they are too old, which `fleet.snapshot.assemble` judges.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from agent.wire import Outcome
from fleet.readings import FAULT_CODES, Fault, FaultKind, MinerReading, PduReading, Quality, RowKind
from fleet.site import Machine, Site, fold_model, found_machine, locate
from fleet.snapshot import (
    FAN_SLOTS,
    SENSOR_SLOTS,
    STATE_CODES,
    MachineInfo,
    Observations,
    PduColumns,
    Snapshot,
    assemble,
    learn_steady,
)

VALID_INTERVALS = 2
SLOT_OF_SENSOR = {slot: column for column, slot in enumerate(SENSOR_SLOTS)}
REMEMBERED = ("steady_hashrate_hs", "steady_power_w", "is_sha256", "is_expected_pool")
"""Columns that outlive a restart: what a machine can do, and that it is one of ours."""


@dataclass(slots=True)
class _Pdu:
    """The last look at one PDU; the outlets of its last reading as arrays, so that a tick only joins them."""

    up: float = math.nan
    fault: int = 0
    seen_s: float = math.nan
    power_w: float = math.nan
    energy_j: float = math.nan
    temperature_c: float = math.nan
    profile: str = ""
    model: str = ""
    outlet_ids: tuple[str, ...] = ()
    outlet_machine: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    outlet_power_w: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    outlet_is_measured: npt.NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, bool))
    outlet_on: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))


class Table:
    """Every machine and PDU of the site, as last seen."""

    def __init__(self, site: Site, pdu_ids: Iterable[str], interval_s: float) -> None:
        self.site = site
        self._described = len(site)
        self.observed = Observations.empty(len(site))
        self._valid_for_s = VALID_INTERVALS * interval_s
        self._infos = [_info_of(machine) for machine in site.machines]
        self._frozen_infos: tuple[MachineInfo, ...] | None = None
        self._key_of_row: dict[int, str] = {}
        self._row_of_key: dict[str, int] = {}
        self._model_codes: dict[str, int] = {}
        self._pdus = {id: _Pdu() for id in pdu_ids}
        for row in range(len(site)):
            self._know_model(row)

    def has_machine_at(self, key: str) -> bool:
        """True if a machine is known at this address; the others are swept, not polled."""
        return key in self._row_of_key or key in self.site.row_of_address

    def is_round_complete(self) -> bool:
        """True once every machine and PDU has been looked at."""
        return not np.isnan(self.observed.up).any() and not any(math.isnan(pdu.up) for pdu in self._pdus.values())

    def take(self, outcomes: Iterable[Outcome]) -> None:
        """Write a batch of outcomes of machines and PDUs; machines nobody described get rows of their own first."""
        outcomes = tuple(outcomes)
        self._admit(outcomes)
        for outcome in outcomes:
            if outcome.key in self._pdus and outcome.kind == "snmp":
                self._take_pdu(outcome)
            elif outcome.reading is not None:
                self._take_reading(outcome, outcome.reading)
            elif outcome.fault is not None:
                self._take_fault(outcome, outcome.fault)

    def freeze(self, now_s: float) -> Snapshot:
        """The fleet as it is known at `now_s`; learns from it what each steady machine can do."""
        if self._frozen_infos is None:
            self._frozen_infos = tuple(self._infos)
        pdus = self._pdu_columns(now_s)
        snapshot = assemble(self.site, self.observed, self._frozen_infos, pdus, now_s, self._valid_for_s)
        learn_steady(self.observed, snapshot)
        return snapshot

    def found(self) -> tuple[Machine, ...]:
        """The machines that answered and that no inventory names."""
        return self.site.machines[self._described :]

    def remembered(self) -> Mapping[str, npt.NDArray[np.generic]]:
        """The columns that shall outlive a restart, in row order of `site.ids`."""
        return {name: getattr(self.observed, name).copy() for name in REMEMBERED}

    def recall(
        self, ids: tuple[str, ...], columns: Mapping[str, npt.NDArray[np.generic]], found: Iterable[Machine] = ()
    ) -> None:
        """Take over what an earlier start remembered, matched by machine id; what is not there stays unknown.

        A machine found then has its row again before it answers: it may be dark because we advised so.
        """
        self._grow([machine for machine in found if machine.id not in self.site.row_of_id])
        rows = [(self.site.row_of_id[id], old) for old, id in enumerate(ids) if id in self.site.row_of_id]
        new_rows, old_rows = np.array(rows, dtype=np.int64).reshape(-1, 2).T
        for name in REMEMBERED:
            if name in columns:
                getattr(self.observed, name)[new_rows] = columns[name][old_rows]

    def _admit(self, outcomes: tuple[Outcome, ...]) -> None:
        """Rows for machines that answered and have none. Found in one batch, so that growing stays cheap."""
        found: dict[str, Machine] = {}
        for outcome in outcomes:
            reading = outcome.reading
            if reading is not None and self._row_of(outcome.key, reading) is None:
                machine = found_machine(outcome.key, reading.mac, reading.serial, reading.model)
                found.setdefault(machine.id, machine)
        self._grow(list(found.values()))

    def _grow(self, machines: list[Machine]) -> None:
        if not machines:
            return
        first = len(self.site)
        self.site = self.site.with_machines(machines)
        self.observed = self.observed.grown(len(self.site))
        self._infos += [_info_of(machine) for machine in machines]
        self._frozen_infos = None
        for row in range(first, len(self.site)):
            self._know_model(row)

    def _take_reading(self, outcome: Outcome, reading: MinerReading) -> None:
        row = self._row_of(outcome.key, reading)
        for tenant in {self.site.row_of_address.get(outcome.key), self._row_of_key.get(outcome.key)}:
            if tenant is not None and tenant != row and self._key_of_row.get(tenant, outcome.key) == outcome.key:
                self._fail(tenant, outcome.at_s, FaultKind.IDENTITY)
        if row is None:
            return
        self._key_of_row[row], self._row_of_key[outcome.key] = outcome.key, row
        self._describe(row, outcome.key, reading)
        self._write(row, outcome.at_s, reading)

    def _row_of(self, key: str, reading: MinerReading) -> int | None:
        """Row of the machine that answers at `key`, None if it has none yet.

        A machine that its MAC or serial has shown elsewhere is not the nameless one that came to its old address.
        """
        site = self.site
        row = locate(site, key, reading.mac, reading.serial)
        is_named = row in (site.row_of_mac.get(reading.mac or ""), site.row_of_serial.get(reading.serial or ""))
        if row is not None and (is_named or self._key_of_row.get(row, key) == key):
            return row
        return site.row_of_id.get(found_machine(key, reading.mac, reading.serial, None).id)

    def _take_fault(self, outcome: Outcome, fault: Fault) -> None:
        row = self._row_of_key.get(outcome.key, self.site.row_of_address.get(outcome.key))
        if row is not None and self._key_of_row.get(row, outcome.key) == outcome.key:
            self._fail(row, outcome.at_s, fault.kind)

    def _fail(self, row: int, at_s: float, kind: FaultKind) -> None:
        self.observed.up[row] = 0.0
        self.observed.fault[row] = FAULT_CODES[kind]
        self.observed.polled_s[row] = at_s

    def _write(self, row: int, at_s: float, reading: MinerReading) -> None:
        seen = self.observed
        seen.up[row], seen.fault[row] = 1.0, 0
        seen.polled_s[row] = seen.seen_s[row] = at_s
        seen.hashrate_hs[row] = _nan(reading.hashrate_hs)
        seen.hashrate_now_hs[row] = _nan(reading.hashrate_now_hs)
        seen.hashrate_expected_hs[row] = _nan(reading.hashrate_expected_hs)
        seen.reported_power_w[row] = _nan(reading.reported_power_w)
        seen.uptime_s[row] = _nan(reading.uptime_s)
        seen.state[row] = STATE_CODES[reading.state]
        seen.temperature_c[row] = np.nan
        for temperature in reading.temperatures:
            slot = SLOT_OF_SENSOR.get((temperature.sensor, temperature.index))
            if slot is not None:
                seen.temperature_c[row, slot] = temperature.celsius
        fans = [_nan(rpm) for rpm in reading.fans_rpm[:FAN_SLOTS]]
        seen.fan_rpm[row] = fans + [math.nan] * (FAN_SLOTS - len(fans))
        seen.is_sha256[row] = self._is_sha256(reading)
        seen.is_expected_pool[row] = _is_expected(reading.pool_host, self.site.expected_pools)

    def _is_sha256(self, reading: MinerReading) -> bool:
        """Proven by the driver, or by a model that the catalogue of SHA-256 machines knows."""
        if reading.algorithm is not None:
            return reading.algorithm == "sha256"
        return reading.model is not None and fold_model(reading.model) in self.site.nameplates

    def _describe(self, row: int, key: str, reading: MinerReading) -> None:
        known = self._infos[row]
        told = self.site.machines[row]
        info = MachineInfo(
            address=key,
            make=reading.make,
            model=told.model or reading.model or known.model,
            firmware=reading.firmware or known.firmware,
            mac=told.mac or reading.mac or known.mac,
            serial=told.serial or reading.serial or known.serial,
            driver=reading.driver,
        )
        if info != known:
            self._infos[row] = info
            self._frozen_infos = None
            if info.model != known.model:
                self._know_model(row)

    def _know_model(self, row: int) -> None:
        model = self._infos[row].model
        if not model:
            return
        folded = fold_model(model)
        self.observed.model_code[row] = self._model_codes.setdefault(folded, len(self._model_codes))
        plate = self.site.nameplates.get(folded)
        self.observed.nameplate_hashrate_hs[row] = math.nan if plate is None else plate.hashrate_hs
        self.observed.nameplate_power_w[row] = math.nan if plate is None else plate.power_w

    def _take_pdu(self, outcome: Outcome) -> None:
        pdu = self._pdus[outcome.key]
        if outcome.pdu is not None:
            self._pdus[outcome.key] = _pdu_of(outcome.key, outcome.pdu, outcome.at_s, self.site)
        elif outcome.fault is not None:
            self._pdus[outcome.key] = replace(pdu, up=0.0, fault=FAULT_CODES[outcome.fault.kind])

    def _pdu_columns(self, now_s: float) -> PduColumns:
        pdus = list(self._pdus.values())
        if not pdus:
            return PduColumns()
        outlets = [len(pdu.outlet_ids) for pdu in pdus]
        seen_s = np.array([pdu.seen_s for pdu in pdus])
        is_valid = now_s - seen_s <= self._valid_for_s
        outlet_pdu = np.repeat(np.arange(len(pdus), dtype=np.int32), outlets)

        def joined(name: str) -> npt.NDArray[np.float64]:
            return np.concatenate([getattr(pdu, name) for pdu in pdus])

        def valid(name: str) -> npt.NDArray[np.float64]:
            return np.where(is_valid, np.array([getattr(pdu, name) for pdu in pdus]), np.nan)

        return PduColumns(
            ids=tuple(self._pdus),
            up=np.array([pdu.up for pdu in pdus]),
            fault=np.array([pdu.fault for pdu in pdus], np.uint8),
            last_seen_s=seen_s,
            power_w=valid("power_w"),
            energy_j=valid("energy_j"),
            temperature_c=valid("temperature_c"),
            profiles=tuple(pdu.profile for pdu in pdus),
            models=tuple(pdu.model for pdu in pdus),
            outlet_pdu=outlet_pdu,
            outlet_ids=tuple(id for pdu in pdus for id in pdu.outlet_ids),
            outlet_machine=joined("outlet_machine").astype(np.int32),
            outlet_power_w=np.where(is_valid[outlet_pdu], joined("outlet_power_w"), np.nan),
            outlet_is_measured=joined("outlet_is_measured").astype(bool),
            outlet_on=np.where(is_valid[outlet_pdu], joined("outlet_on"), np.nan),
            outlet_at_s=seen_s[outlet_pdu],
        )


def _pdu_of(id: str, reading: PduReading, at_s: float, site: Site) -> _Pdu:
    outlets = [row for row in reading.rows if row.kind is RowKind.OUTLET]
    probes = [row.temperature_c for row in reading.rows if row.kind is RowKind.PROBE and row.temperature_c is not None]
    return _Pdu(
        up=1.0,
        seen_s=at_s,
        power_w=_nan(reading.power_w),
        energy_j=_nan(reading.energy_j),
        temperature_c=max(probes, default=math.nan),
        profile=reading.profile,
        model=reading.model or "",
        outlet_ids=tuple(row.id for row in outlets),
        outlet_machine=np.array([site.row_of_outlet.get((id, row.id), -1) for row in outlets], np.int32),
        outlet_power_w=np.array([_nan(row.power_w) for row in outlets], np.float64),
        outlet_is_measured=np.array([row.power_quality is Quality.MEASURED for row in outlets], bool),
        outlet_on=np.array([_nan(None if row.is_on is None else float(row.is_on)) for row in outlets], np.float64),
    )


def _info_of(machine: Machine) -> MachineInfo:
    return MachineInfo(
        address=machine.address or "", model=machine.model or "", mac=machine.mac or "", serial=machine.serial or ""
    )


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


def _is_expected(pool_host: str | None, expected: tuple[str, ...]) -> bool:
    """True unless the operator named pools and this is none of them. An unknown pool is no evidence."""
    if not expected or not pool_host:
        return True
    host = pool_host.lower()
    return any(host == pool.lower() or host.endswith("." + pool.lower()) for pool in expected)
