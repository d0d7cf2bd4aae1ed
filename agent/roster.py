"""Who looks at which device: moves a job where the answers say it belongs.

A machine that the native worker does not speak goes to the worker that carries a library. An address of a range where
nobody answers is swept now and then instead of being polled, until somebody does. A make that asks for patience
(`MinerReading.pace_s`) is polled at its own pace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from agent.config import Config
from agent.plan import handed_to_library
from agent.wire import Assignment, Job, Outcome
from collectors.miners.native import NEEDS_PYASIC
from fleet.readings import FaultKind

SWEEP_S = 600.0
SILENT = (FaultKind.UNREACHABLE, FaultKind.REFUSED)


class Roster:
    """The jobs of every worker. `changed` names the workers whose jobs must be sent again."""

    def __init__(self, config: Config, assignments: Iterable[Assignment]) -> None:
        self._config = config
        self._jobs: dict[str, dict[str, Job]] = {a.name: {job.key: job for job in a.jobs} for a in assignments}
        self._library = config.poll.library
        if self._jobs.get("miners"):
            self._jobs.setdefault(self._library, {})
        self.changed: set[str] = set(self._jobs)

    @property
    def workers(self) -> tuple[str, ...]:
        return tuple(self._jobs)

    def jobs(self, worker: str) -> tuple[Job, ...]:
        return tuple(self._jobs[worker].values())

    def learn(self, ways: Mapping[str, str]) -> None:
        """Take over what earlier readings said about how machines are asked; that changes nobody's job."""
        for jobs in self._jobs.values():
            for key in jobs.keys() & ways.keys():
                jobs[key] = replace(jobs[key], way=ways[key])

    def keys(self) -> set[str]:
        """Every device and feed that is looked at."""
        return {key for jobs in self._jobs.values() for key in jobs}

    def looks(self) -> set[tuple[str, bool]]:
        """The same, with whether it is looked at as a PDU: a range of machines often covers PDUs as well."""
        return {(key, job.kind == "snmp") for jobs in self._jobs.values() for key, job in jobs.items()}

    def is_in_charge(self, outcome: Outcome) -> bool:
        """True if this outcome comes from the worker that the device belongs to."""
        return any(outcome.key in jobs and jobs[outcome.key].kind == outcome.kind for jobs in self._jobs.values())

    def take(self, outcomes: Iterable[Outcome], has_machine_at: Callable[[str], bool]) -> None:
        """Judge by these outcomes which jobs stand wrong."""
        for outcome in outcomes:
            job = self._jobs.get("miners", {}).get(outcome.key)
            if job is None or outcome.kind != job.kind:
                continue
            fault = outcome.fault
            if fault is not None and fault.kind is FaultKind.UNSUPPORTED and fault.detail.startswith(NEEDS_PYASIC):
                self._jobs[self._library][job.key] = handed_to_library(self._config, job)
                del self._jobs["miners"][job.key]
                self.changed |= {"miners", self._library}
            elif fault is not None and fault.kind in SILENT and not has_machine_at(job.key):
                self._pace(job, SWEEP_S)
            elif outcome.reading is not None:
                if outcome.reading.way != job.way:
                    job = self._jobs["miners"][job.key] = replace(job, way=outcome.reading.way)
                self._pace(job, max(self._config.poll.interval_s, outcome.reading.pace_s))
            elif job.interval_s == SWEEP_S:
                self._pace(job, self._config.poll.interval_s)

    def _pace(self, job: Job, interval_s: float) -> None:
        if job.interval_s != interval_s:
            self._jobs["miners"][job.key] = replace(job, interval_s=interval_s)
            self.changed.add("miners")
