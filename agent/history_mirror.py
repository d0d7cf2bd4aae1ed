"""The second home of the history: what the file beside the journal has and the server has not, copied by a thread.

The file is always written first and by others; this thread only reads it. When it meets a server it asks which rows it
has, by their seals, and from then on copies what is missing or different, the oldest first and a few MiB at a time. So
there is nothing to remember: a server that was away, was restored from a backup or is new gets what the file still has,
once. A running hour is not copied before it has ended.

A server that is away or slow costs this thread its time and nobody else anything: it is tried again after a minute,
then less often.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from agent.history import HOUR_S, Head, History, HistoryError, Limits
from fleet.account import Span
from fleet.localtime import Zone

log = logging.getLogger(__name__)

EVERY_S = 60.0
BACK_OFF_MAX_S = 900.0
LET_GO_EVERY_S = 3600.0
BATCH_BYTES = 4 << 20
BATCH_ROWS = 500
STUCK_S = 300.0
STOP_PATIENCE_S = 5.0

Key = tuple[str, float]


class Mirror:
    """For whoever watches: `is_well` while the server takes what it is given, and `rows_behind`, what the file has and
    the server has not; NaN until a server was met."""

    def __init__(
        self,
        local: Path,
        url: str,
        limits: Limits,
        zone: Zone,
        *,
        now: Callable[[], float] = time.time,
        every_s: float = EVERY_S,
    ) -> None:
        self.rows_behind = math.nan
        self._moved_s = -math.inf
        self._local, self._url, self._limits, self._zone = local, url, limits, zone
        self._now, self._every_s = now, every_s
        self._server: History | None = None
        self._seen = 0
        self._waiting: dict[Key, Head] = {}
        self._newest_s = self._let_go_s = -math.inf
        self._said = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="history-mirror", daemon=True)

    @property
    def is_well(self) -> bool:
        """Whether the last round ended well, and this one moves: a server may take what it is given and fall silent."""
        return time.monotonic() - self._moved_s < STUCK_S

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End after the batch at hand; a server that hangs is not waited for."""
        self._stop.set()
        self._thread.join(STOP_PATIENCE_S)

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                self.copy()
                failures = 0
            except Exception as error:  # noqa: BLE001 - nothing that a server does may end the thread
                self.failed(error)
                failures += 1
            self._stop.wait(min(self._every_s * 2 ** min(failures, 10), max(BACK_OFF_MAX_S, self._every_s)))
        self.leave()

    def copy(self) -> None:
        """One round: everything that has ended and is missing. Errors: HistoryError; the next call begins anew."""
        if not self._local.exists():  # nothing was kept yet
            return
        with closing(History.read_only(self._local)) as local:
            server = self._server or self._compare(local)
            self._waiting |= {head.key: head for head in self._fresh(local)}
            ended = [head for head in self._waiting.values() if _end_s(head) <= self._now()]
            self.rows_behind = len(ended)
            for batch in _batches(sorted(ended, key=lambda head: head.start_s)):
                if self._stop.is_set():
                    return
                rows, rosters = local.fetch(batch)
                server.take([row for row in rows if row.is_sound()], rosters)
                for head in batch:
                    del self._waiting[head.key]
                self.rows_behind -= len(batch)
                self._moved_s = time.monotonic()
        if self._newest_s - self._let_go_s >= LET_GO_EVERY_S:
            server.let_go(self._newest_s, self._zone)
            self._let_go_s = self._newest_s
        self._moved_s = time.monotonic()
        if self._said != "well":
            log.info("history: %s has everything", server.where)
            self._said = "well"

    def _compare(self, local: History) -> History:
        """Find out what the server has not, or has otherwise. A server that is rather full once had what is older than
        its oldest rows, and let it go."""
        self._server = server = History.open(self._url, limits=self._limits)
        there = {head.key: head for head in server.heads()}
        is_full = server.size_bytes() > self._limits.max_bytes // 2
        oldest_s = _oldest(there.values()) if is_full else {}
        self._seen = 0
        self._waiting = {
            head.key: head
            for head in self._fresh(local)
            if not (head.key in there and there[head.key].seal == head.seal)
            and head.start_s >= oldest_s.get(head.span, -math.inf)
        }
        return server

    def _fresh(self, local: History) -> list[Head]:
        heads = local.heads(self._seen)
        self._seen = max((head.serial for head in heads), default=self._seen)
        self._newest_s = max(self._newest_s, max((head.start_s for head in heads), default=-math.inf))
        return heads

    def failed(self, error: Exception) -> None:
        """Say it once, and begin anew with the next round."""
        if self._said != "ill":
            words = str(error) if isinstance(error, HistoryError) else type(error).__name__
            log.warning("%s; the file beside the journal keeps what the server has not got", words)
            log.debug("history mirror failed", exc_info=error)
            self._said = "ill"
        self._moved_s = -math.inf
        self.leave()

    def leave(self) -> None:
        """Let go of the server; the next round finds it again."""
        if self._server is not None:
            self._server.close()
            self._server = None


def _end_s(head: Head) -> float:
    """When nothing more can come to a row: the account of a running hour ends where it was booked to."""
    return max(head.end_s, head.start_s + HOUR_S) if head.span == Span.HOUR else head.end_s


def _oldest(heads: Iterable[Head]) -> dict[str, float]:
    oldest_s: dict[str, float] = {}
    for head in heads:
        oldest_s[head.span] = min(head.start_s, oldest_s.get(head.span, math.inf))
    return oldest_s


def _batches(heads: Iterable[Head]) -> Iterator[list[Head]]:
    """In order, as many at a time as make one transaction that is soon done."""
    batch: list[Head] = []
    for head in heads:
        if batch and (len(batch) == BATCH_ROWS or sum(each.size for each in batch) + head.size > BATCH_BYTES):
            yield batch
            batch = []
        batch.append(head)
    if batch:
        yield batch
