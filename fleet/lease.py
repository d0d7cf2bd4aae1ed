"""The lease: what a recommendation says to the outside. The head is small and renewed; the plan names the machines."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Issue:
    """Who issues a lease and when: one start of one agent (`boot_id`), its running number, and the window."""

    boot_id: str
    seq: int
    issued_at_s: float
    valid_until_s: float
    agent_id: str = "hashwatt"
