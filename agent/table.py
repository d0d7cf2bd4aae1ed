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
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from agent.pdu_table import KnownPdu, PduTable
from agent.preset_table import PresetTable
from agent.wire import Outcome
from exporters.wording import clean
from fleet.calibration import calibrate, learn_ratios
from fleet.doubts import watch_meters
from fleet.presets import PresetColumns
from fleet.readings import FAULT_CODES, Fault, FaultKind, MinerReading
from fleet.site import Machine, Register, Site, fold_model, found_machine, plate_of
from fleet.snapshot import (
    FAN_SLOTS,
    SENSOR_SLOTS,
    STATE_CODES,
    WORK_SLOTS,
    MachineInfo,
    Observations,
    Snapshot,
    assemble,
    learn_steady,
)
from fleet.work import count_work

log = logging.getLogger(__name__)

VALID_INTERVALS = 2
SLOT_OF_SENSOR = {slot: column for column, slot in enumerate(SENSOR_SLOTS)}
REMEMBERED = (
    "steady_hashrate_hs", "steady_power_w", "is_sha256", "is_expected_pool",
    "ratio_mean", "ratio_variance", "ratio_samples", "ratio_at_s", "calibration_code",
)  # fmt: skip
"""Columns that outlive a restart: what a machine can do, that it is one of ours, and what its word is worth."""

MAX_ERRORS = 8
"""Errors of one machine that are kept in words; the column counts them all."""


RECALIBRATE_S = 60.0
"""How often the calibrations of machines and models are put in force anew."""


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
        self._pdus = PduTable(pdu_ids, site.claims, self._valid_for_s)
        self._presets = PresetTable()
        self._calibrated_s = math.nan
        for row in range(len(site)):
            self._know_model(row)
            self._name(row)

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
        return not np.isnan(self.observed.up).any() and self._pdus.is_round_complete()

    def take(self, outcomes: Iterable[Outcome]) -> None:
        """Write a batch of outcomes of machines and PDUs; a machine that nobody described gets a row of its own."""
        for outcome in outcomes:
            if outcome.key in self._pdus and outcome.kind == "snmp":
                self._pdus.take(outcome)
            elif outcome.reading is not None:
                self._take_reading(outcome, outcome.reading)
            elif outcome.fault is not None:
                self._take_fault(outcome, outcome.fault)

    def freeze(self, now_s: float) -> Snapshot:
        """The fleet as it is known at `now_s`; learns from it what each machine does and can do."""
        if self._frozen_infos is None:
            self._frozen_infos = tuple(self._infos)
        observed = self.observed
        pdus = self._pdus.columns(observed, now_s)
        count_work(observed)
        if not abs(now_s - self._calibrated_s) < RECALIBRATE_S:
            self._calibrated_s = now_s
            calibrate(observed)
        snapshot = assemble(self.site, observed, self._frozen_infos, pdus, now_s, self._valid_for_s)
        learn_steady(observed, snapshot)
        learn_ratios(observed, snapshot)
        watch_meters(observed, snapshot)
        return snapshot

    def presets(self) -> PresetColumns:
        """The presets that machines have told, beside the snapshot: nothing is decided by them."""
        return self._presets.columns()

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

    def remembered_pdus(self) -> tuple[KnownPdu, ...]:
        """What shall outlive a restart about PDUs: who they are, and where their counters stand."""
        return self._pdus.remembered()

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
        pdus: Iterable[KnownPdu] = (),
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
        self._pdus.recall(pdus)
        self._calibrated_s = math.nan

    def _recall_texts(self, row: int, texts: Mapping[str, str]) -> None:
        """Names and home hold for the address that the operator's line names: where he wrote another, he knows more."""
        home, way = texts["home"], texts["way"]
        if home and way:
            self._ways[home] = sys.intern(way)
        if texts["address"] != (self._machines[row].address or ""):
            return
        self._bind(row, texts["mac"], texts["serial"])
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
            self._bind(row, reading.mac, reading.serial)
            self._describe(row, key, reading)
            self._write(row, outcome.at_s, reading)
            self._presets.take(row, outcome.at_s, reading)

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
        self._name(row)
        return row

    def _bind(self, row: int, mac: str | None, serial: str | None) -> None:
        """Remember the names that a machine shows; outlets may be named after them."""
        register, names = self._register, self._pdus.names
        before = register.macs[row], register.serials[row]
        register.bind(row, mac, serial)
        if (register.macs[row], register.serials[row]) != before:
            for name in before:
                names.forget(row, name)
            self._name(row)

    def _name(self, row: int) -> None:
        machine, register = self._machines[row], self._register
        told = () if machine.is_provisional else (machine.id,)
        self._pdus.names.tell(row, *told, register.macs[row], register.serials[row])

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
        if reading.reported_power_w is not None:
            self._know_power(row)

    def _know_model(self, row: int) -> None:
        model = self._infos[row].model
        if not model:
            return
        self._rows.model_code[row] = self._model_codes.setdefault(fold_model(model), len(self._model_codes))
        plate = plate_of(self._told.nameplates, model)
        self._rows.nameplate_hashrate_hs[row] = math.nan if plate is None else plate.hashrate_hs
        self._rows.nameplate_power_w[row] = math.nan if plate is None else plate.power_w

    def _know_power(self, row: int) -> None:
        """Whose opinion the machine's watts are. After another firmware nothing that was learned about it holds.

        The code is a digest, because it outlives a restart and firmware may call itself anything.
        """
        info, seen = self._infos[row], self._rows
        kind = "\0".join((fold_model(info.model), info.driver, info.power_side, info.firmware))
        code = zlib.crc32(kind.encode("utf-8", "replace")) >> 1
        if seen.calibration_code[row] not in (code, -1):
            seen.ratio_samples[row] = 0.0
            seen.calibration_ratio[row] = np.nan
        seen.calibration_code[row] = code


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
