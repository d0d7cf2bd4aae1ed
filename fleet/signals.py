"""What else gates advice: the state of the gateway itself. Grid and contract signals join here later."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Signals:
    """Facts about the agent's own footing: `booted_s` Unix time of this start, `settle_s` what a first round takes."""

    booted_s: float = float("-inf")
    settle_s: float = 60.0
    is_clock_trusted: bool = True
    is_storage_ok: bool = True
