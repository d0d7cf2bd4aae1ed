"""One run of a machine, as its uptime and its work tell of it: whether what is kept may be told of what answers now.

Nothing in a reply says that another machine has the address since the last look, or that the same one has started
again. But its uptime then does not go on with the time, its work is not what it was, or it hashes and did not before.
"""

from __future__ import annotations

from fleet.readings import MinerReading

SLACK_S = 10.0
"""An uptime that has grown by so much more or less than the time that has passed is of another run. It was true some
seconds before or after we looked at the clock."""

MINUTE_S = 60.0


class Run:
    """What the last look told of a run. Instants are of the loop's clock."""

    __slots__ = ("_accepted", "_is_hashing", "_started_at", "_uptime_s")

    def __init__(self) -> None:
        self._uptime_s: float | None = None
        self._started_at = 0.0
        self._accepted: float | None = None  # shares
        self._is_hashing = False

    def goes_on(self, reading: MinerReading, now: float) -> bool:
        """Whether a reading can be of this run, and of the same state of it."""
        uptime_s, before_s = reading.uptime_s, self._uptime_s
        if uptime_s is not None and before_s is not None and not self._fits(uptime_s, before_s, now):
            return False
        accepted, before = reading.shares_accepted, self._accepted
        if accepted is not None and before is not None and accepted < before:
            return False
        return _is_hashing(reading) is self._is_hashing

    def note(self, reading: MinerReading, now: float) -> None:
        """Take over what a look has told."""
        uptime_s = reading.uptime_s
        if uptime_s is not None and uptime_s != self._uptime_s:
            self._uptime_s = uptime_s
            self._started_at = now - uptime_s
        self._accepted = reading.shares_accepted
        self._is_hashing = _is_hashing(reading)

    def _fits(self, uptime_s: float, before_s: float, now: float) -> bool:
        """An uptime that stands still is of a machine that rests, or was kept itself; some count in minutes."""
        if uptime_s <= before_s:
            return uptime_s == before_s
        drift_s = abs(now - uptime_s - self._started_at)
        if drift_s <= SLACK_S:
            return True
        is_in_minutes = not (uptime_s % MINUTE_S or before_s % MINUTE_S)
        return is_in_minutes and drift_s <= SLACK_S + MINUTE_S


def _is_hashing(reading: MinerReading) -> bool:
    now_hs = reading.hashrate_now_hs
    return bool(reading.hashrate_hs if now_hs is None else now_hs)
