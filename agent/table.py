"""The table in the main process: outcomes write rows, a tick freezes a copy.

A machine's row is found by MAC, then serial, then address; an address is only a place. A row lives at one address, its
home, and moves when its names answer elsewhere. Names that go on answering at two addresses are a conflict: the row
keeps its home, hears nothing from the other, and nobody is advised until one of the two has been quiet for long enough.
A failed poll touches nothing but `up` and `fault`: earlier values stay until they are too old, which
`fleet.snapshot.assemble` judges.

Beside its columns a machine costs about 1 KiB here: texts of few values are interned, and the rest is lists by row.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from agent.wire import Outcome
from exporters.wording import clean
from fleet.readings import FAULT_CODES, Fault, FaultKind, MinerReading, PduReading, Quality, RowKind
from fleet.site import Machine, Register, Site, fold_model, found_machine, plate_of
from fleet.snapshot import (
    FAN_SLOTS,
    SENSOR_SLOTS,
    STATE_CODES,
    WORK_SLOTS,
    MachineInfo,
    Observations,
    PduColumns,
    Snapshot,
    assemble,
    learn_steady,
)
from fleet.work import count_work

log = logging.getLogger(__name__)

VALID_INTERVALS = 2
SLOT_OF_SENSOR = {slot: column for column, slot in enumerate(SENSOR_SLOTS)}
REMEMBERED = ("steady_hashrate_hs", "steady_power_w", "is_sha256", "is_expected_pool")
"""Columns that outlive a restart: what a machine can do, and that it is one of ours."""

MAX_ERRORS = 8
"""Errors of one machine that are kept in words; the column counts them all."""


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
        self._told = site
        self._site = site
        self._machines = list(site.machines)
        self._register = Register(site.machines)
        self._rows = Observations.empty(len(site))  # with room to grow: `observed` has one row per machine
        self._valid_for_s = VALID_INTERVALS * interval_s
        self._infos = [_info_of(machine) for machine in site.machines]
        self._frozen_infos: tuple[MachineInfo, ...] | None = None
        self._home: list[str | None] = [None] * len(site)
        self._row_of_key: dict[str, int] = {}
        self._elsewhere: dict[int, dict[str, float]] = {}  # row -> where its names answered beside its home, and when
        self._disputed: set[int] = set()  # rows whose conflict was logged
        self._locked: set[str] = set()  # places of unknown machines that want a login, which was logged
        self._ways: dict[str, str] = {}
        self._model_codes: dict[str, int] = {}
        self._pdus = {id: _Pdu() for id in pdu_ids}
        for row in range(len(site)):
            self._know_model(row)

    @property
    def site(self) -> Site:
        """What the operator described, and behind it the machines that were found."""
        if len(self._site) != len(self._machines):
            self._site = self._told.with_machines(self._machines[len(self._told) :])
        return self._site

    @property
    def observed(self) -> Observations:
        """The columns with one row per machine; what is written there is written in the table."""
        return self._rows.first(len(self._machines))

    def has_machine_at(self, key: str) -> bool:
        """True if a machine is known at this address; the others are swept, not polled."""
        return key in self._row_of_key or key in self._register.row_of_address

    def is_round_complete(self) -> bool:
        """True once every machine and PDU has been looked at."""
        return not np.isnan(self.observed.up).any() and not any(math.isnan(pdu.up) for pdu in self._pdus.values())

    def take(self, outcomes: Iterable[Outcome]) -> None:
        """Write a batch of outcomes of machines and PDUs; a machine that nobody described gets a row of its own."""
        for outcome in outcomes:
            if outcome.key in self._pdus and outcome.kind == "snmp":
                self._take_pdu(outcome)
            elif outcome.reading is not None:
                self._take_reading(outcome, outcome.reading)
            elif outcome.fault is not None:
                self._take_fault(outcome, outcome.fault)

    def freeze(self, now_s: float) -> Snapshot:
        """The fleet as it is known at `now_s`; learns from it what each machine does and can do."""
        if self._frozen_infos is None:
            self._frozen_infos = tuple(self._infos)
        pdus, observed = self._pdu_columns(now_s), self.observed
        count_work(observed)
        snapshot = assemble(self.site, observed, self._frozen_infos, pdus, now_s, self._valid_for_s)
        learn_steady(observed, snapshot)
        return snapshot

    # --- over a restart ----------------------------------------------------------------------------------------------

    def found(self) -> tuple[Machine, ...]:
        """The machines that answered and that no inventory names."""
        return self.site.machines[len(self._told) :]

    def ways(self) -> Mapping[str, str]:
        """Address -> how the machine there is asked, as its driver last put it."""
        return self._ways

    def remembered(self) -> Mapping[str, npt.NDArray[np.generic]]:
        """The columns that shall outlive a restart, in row order of `site.ids`."""
        return {name: getattr(self.observed, name).copy() for name in REMEMBERED}

    def remembered_texts(self) -> Mapping[str, tuple[str, ...]]:
        """What shall outlive a restart beside the columns: the names that the machine of each row has shown, the
        address that its line named then, its home, and the way to ask it there."""
        homes = [home or "" for home in self._home]
        return {
            "mac": tuple(mac or "" for mac in self._register.macs),
            "serial": tuple(serial or "" for serial in self._register.serials),
            "address": tuple(machine.address or "" for machine in self._machines),
            "home": tuple(homes),
            "way": tuple(self._ways.get(home, "") for home in homes),
        }

    def recall(
        self,
        ids: tuple[str, ...],
        columns: Mapping[str, npt.NDArray[np.generic]],
        found: Iterable[Machine] = (),
        texts: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        """Take over what an earlier start remembered, matched by machine id; what is not there stays unknown.

        A machine found then has its row again before it answers: it may be dark because we advised so.
        """
        for machine in found:
            if machine.id not in self._register.row_of_id:
                self._add(machine)
        row_of_id = self._register.row_of_id
        rows = [(row_of_id[id], old) for old, id in enumerate(ids) if id in row_of_id]
        new_rows, old_rows = np.array(rows, dtype=np.int64).reshape(-1, 2).T
        for name in REMEMBERED:
            if name in columns:
                getattr(self._rows, name)[new_rows] = columns[name][old_rows]
        if texts:
            for row, old in rows:
                self._recall_texts(row, {name: column[old] for name, column in texts.items()})

    def _recall_texts(self, row: int, texts: Mapping[str, str]) -> None:
        """Names and home hold for the address that the operator's line names: where he wrote another, he knows more."""
        home, way = texts["home"], texts["way"]
        if home and way:
            self._ways[home] = sys.intern(way)
        if texts["address"] != (self._machines[row].address or ""):
            return
        self._register.bind(row, texts["mac"], texts["serial"])
        if home:
            self._home[row] = home
            self._row_of_key.setdefault(home, row)
        mac, serial = self._register.macs[row], self._register.serials[row]
        self._infos[row] = replace(self._infos[row], mac=mac or "", serial=serial or "")

    # --- whose reading -----------------------------------------------------------------------------------------------

    def _take_reading(self, outcome: Outcome, reading: MinerReading) -> None:
        key = outcome.key
        row = self._row_of(key, reading)
        if row is None:
            row = self._add(self._found(key, reading))
        for tenant in {self._register.row_of_address.get(key), self._row_of_key.get(key)} - {row, None}:
            assert tenant is not None
            if self._is_home(tenant, key):
                self._leave(tenant, key, outcome.at_s, FaultKind.IDENTITY)
        self._row_of_key[key] = row
        if reading.way:
            self._ways[key] = sys.intern(reading.way)
        if self._settle(row, key, outcome.at_s):
            self._register.bind(row, reading.mac, reading.serial)
            self._describe(row, key, reading)
            self._write(row, outcome.at_s, reading)

    def _row_of(self, key: str, reading: MinerReading) -> int | None:
        """Row of the machine that answers at `key`, None if it has none yet.

        A machine that its MAC or serial has shown elsewhere is not the nameless one that came to its old address.
        """
        register, mac, serial = self._register, reading.mac, reading.serial
        if (row := register.named(mac, serial)) is not None:
            return row
        plain = found_machine(key, mac, serial, None).id
        for row in (register.row_of_address.get(key), register.row_of_id.get(plain)):
            if row is not None and self._is_home(row, key) and not register.is_another(row, mac, serial):
                return row
        return None

    def _is_home(self, row: int, key: str) -> bool:
        """True if the machine of `row` was last seen at `key`, or nowhere yet."""
        home = self._home[row]
        return home is None or home == key

    def _found(self, key: str, reading: MinerReading) -> Machine:
        machine = found_machine(key, reading.mac, reading.serial, reading.model)
        return replace(machine, id=self._register.free_id(machine.id))

    def _add(self, machine: Machine) -> int:
        row = self._register.add(machine)
        self._machines.append(machine)
        self._infos.append(_info_of(machine))
        self._home.append(None)
        self._frozen_infos = None
        if row >= len(self._rows.up):
            self._rows = self._rows.grown(row + row // 8 + 16)
        self._know_model(row)
        return row

    def _settle(self, row: int, key: str, at_s: float) -> bool:
        """True if the machine of `row` lives at `key` or has moved there, False for a second one with its names.

        It has moved unless its home still answers as this machine and `key` did so before its home did: then both do.
        """
        home, seen = self._home[row], self._rows
        if home == key:
            return True
        if home is None:
            self._home[row] = key
            return True
        if at_s < seen.seen_s[row]:
            return False  # overtaken on its way here by the answer from the new home
        elsewhere = {k: t for k, t in self._elsewhere.get(row, {}).items() if self._is_fresh(row, t, at_s)}
        self._elsewhere[row] = elsewhere
        if key in elsewhere and seen.up[row] == 1.0 and self._is_fresh(row, seen.seen_s[row], at_s):
            elsewhere[key] = seen.rival_s[row] = at_s
            self._dispute(row, home, key)
            return False
        elsewhere[home] = float(seen.seen_s[row])
        self._move(row, key)
        return True

    def _is_fresh(self, row: int, then_s: float, at_s: float) -> bool:
        return bool(at_s - then_s <= max(self._valid_for_s, self._rows.valid_for_s[row]))

    def _move(self, row: int, key: str) -> None:
        self._home[row] = key
        self._rows.rival_s[row] = math.nan
        self._rows.work_counted[row] = math.nan  # where two pass for one, their counters have nothing in common

    def _dispute(self, row: int, home: str, key: str) -> None:
        if self._infos[row].rival != key:
            self._infos[row] = replace(self._infos[row], rival=key)
            self._frozen_infos = None
        if row not in self._disputed:
            self._disputed.add(row)
            log.warning(
                "machine %s answers at %s and at %s: no advice for it until one of them has been quiet for a while",
                clean(self._machines[row].id), clean(home), clean(key),
            )  # fmt: skip

    def _take_fault(self, outcome: Outcome, fault: Fault) -> None:
        row = self._row_of_key.get(outcome.key, self._register.row_of_address.get(outcome.key))
        if row is not None and self._is_home(row, outcome.key):
            self._leave(row, outcome.key, outcome.at_s, fault.kind)
        elif row is None and fault.kind is FaultKind.DENIED and outcome.key not in self._locked:
            self._locked.add(outcome.key)
            log.warning("%s is not read: %s; [[miners]] takes a credential", clean(outcome.key), clean(fault.detail))

    def _leave(self, row: int, key: str, at_s: float, kind: FaultKind) -> None:
        """The machine of `row` did not answer at its home. If its names did elsewhere just now, that is its home."""
        for other, then_s in self._elsewhere.get(row, {}).items():
            if then_s == self._rows.rival_s[row] and self._is_fresh(row, then_s, at_s):
                self._elsewhere[row] = {key: float(self._rows.seen_s[row])}
                self._move(row, other)
                return
        self._rows.up[row] = 0.0
        self._rows.fault[row] = FAULT_CODES[kind]
        self._rows.polled_s[row] = at_s

    # --- values ------------------------------------------------------------------------------------------------------

    def _write(self, row: int, at_s: float, reading: MinerReading) -> None:
        seen = self._rows
        seen.up[row], seen.fault[row] = 1.0, 0
        seen.polled_s[row] = seen.seen_s[row] = at_s
        seen.valid_for_s[row] = VALID_INTERVALS * reading.pace_s
        seen.hashrate_hs[row] = _nan(reading.hashrate_hs)
        seen.hashrate_window_s[row] = _nan(reading.hashrate_window_s)
        seen.hashrate_now_hs[row] = _nan(reading.hashrate_now_hs)
        seen.hashrate_expected_hs[row] = _nan(reading.hashrate_expected_hs)
        seen.reported_power_w[row] = _nan(reading.reported_power_w)
        seen.power_limit_w[row] = _nan(reading.power_limit_w)
        seen.uptime_s[row] = _nan(reading.uptime_s)
        seen.error_count[row], seen.warning_count[row] = len(reading.errors), len(reading.warnings)
        seen.work_said[row] = [_nan(getattr(reading, name)) for name in WORK_SLOTS]
        seen.state[row] = STATE_CODES[reading.state]
        seen.temperature_c[row] = np.nan
        for temperature in reading.temperatures:
            slot = SLOT_OF_SENSOR.get((temperature.sensor, temperature.index))
            if slot is not None:
                seen.temperature_c[row, slot] = temperature.celsius
        fans = [_nan(rpm) for rpm in reading.fans_rpm[:FAN_SLOTS]]
        seen.fan_rpm[row] = fans + [math.nan] * (FAN_SLOTS - len(fans))
        seen.is_sha256[row] = self._is_sha256(reading)
        if reading.pool_host:  # no evidence changes nothing
            seen.is_expected_pool[row] = _is_expected(reading.pool_host, self._told.expected_pools)

    def _is_sha256(self, reading: MinerReading) -> bool:
        """Proven by the driver, or by a model that the catalogue of SHA-256 machines knows."""
        if reading.algorithm is not None:
            return reading.algorithm == "sha256"
        return reading.model is not None and plate_of(self._told.nameplates, reading.model) is not None

    def _describe(self, row: int, key: str, reading: MinerReading) -> None:
        known, told = self._infos[row], self._machines[row]
        info = MachineInfo(
            address=self._home[row] or key,  # the same text as an object that is kept anyway
            make=reading.make,
            model=(told.model if row < len(self._told) else None) or reading.model or known.model,
            firmware=reading.firmware or known.firmware,
            mac=self._register.macs[row] or "",
            serial=self._register.serials[row] or "",
            driver=reading.driver,
            mode=reading.mode or "",
            pool=reading.pool_host or known.pool,
            hashrate_key=reading.hashrate_key or "",
            power_key=reading.power_key or "",
            power_side=reading.power_side or "",
            errors=tuple(f"{error.code}: {error.text}" for error in reading.errors[:MAX_ERRORS]),
            rival=known.rival,
        )
        if info != known:
            self._infos[row] = _interned(info)
            self._frozen_infos = None
            if info.model != known.model:
                self._know_model(row)

    def _know_model(self, row: int) -> None:
        model = self._infos[row].model
        if not model:
            return
        self._rows.model_code[row] = self._model_codes.setdefault(fold_model(model), len(self._model_codes))
        plate = plate_of(self._told.nameplates, model)
        self._rows.nameplate_hashrate_hs[row] = math.nan if plate is None else plate.hashrate_hs
        self._rows.nameplate_power_w[row] = math.nan if plate is None else plate.power_w

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


def _interned(info: MachineInfo) -> MachineInfo:
    """The same texts, each kept once for the whole fleet where many machines say it."""
    few = ("make", "model", "firmware", "driver", "mode", "pool", "hashrate_key", "power_key", "power_side")
    return replace(
        info,
        **{name: sys.intern(getattr(info, name)) for name in few},
        errors=tuple(map(sys.intern, info.errors)),
    )


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


def _is_expected(pool_host: str, expected: tuple[str, ...]) -> bool:
    """True unless the operator named pools and this is none of them."""
    if not expected:
        return True
    host = pool_host.lower()
    return any(host == pool.lower() or host.endswith("." + pool.lower()) for pool in expected)
