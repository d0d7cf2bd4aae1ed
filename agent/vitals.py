"""What the agent says about itself: counters for the metrics page, and signs of life for systemd.

Names, labels and bucket edges stand in `exporters.metrics` alone; here is only the counting. The watchdog is fed by
proven progress (a cycle that finished), never by a timer, so an agent that only looks alive is restarted.
"""

from __future__ import annotations

import os
import socket
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path

from exporters import metrics
from exporters.metrics import Family, Metric

EDGES: Mapping[Metric, Sequence[float]] = {
    metrics.POLL_DURATION: metrics.POLL_DURATION_EDGES_S,
    metrics.POLL_LAG: metrics.POLL_DURATION_EDGES_S,
    metrics.CYCLE_DURATION: metrics.CYCLE_DURATION_EDGES_S,
}

Labels = tuple[str, ...]


class Vitals:
    """Counts, gauges and histograms by metric and labels; changed on the event loop, read by a scrape's thread."""

    def __init__(self) -> None:
        self._values: dict[Metric, dict[Labels, float]] = {}
        self._histograms: dict[Metric, dict[Labels, tuple[list[float], float]]] = {}

    def count(self, metric: Metric, *labels: str, by: float = 1.0) -> None:
        """Add to a counter; labels in the order of `metric.labels`."""
        series = self._values.setdefault(metric, {})
        series[labels] = series.get(labels, 0.0) + by

    def gauge(self, metric: Metric, value: float, *labels: str) -> None:
        """Set a gauge; NaN takes the series off the page."""
        self._values.setdefault(metric, {})[labels] = value

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Put one value into a histogram. Errors: KeyError for a metric without edges."""
        edges = EDGES[metric]
        series = self._histograms.setdefault(metric, {})
        counts, total = series.get(labels) or ([0.0] * (len(edges) + 1), 0.0)
        counts[bisect_left(edges, value)] += 1.0
        series[labels] = (counts, total + value)

    def polled(self, driver: str, outcome: str, duration_s: float, lag_s: float) -> None:
        """One look at one device; `outcome` is "ok" or the kind of fault."""
        self.count(metrics.POLLS, driver, outcome)
        self.observe(metrics.POLL_DURATION, duration_s, driver)
        self.observe(metrics.POLL_LAG, lag_s, driver)

    def cycle_finished(self, duration_s: float) -> None:
        self.count(metrics.CYCLES)
        self.observe(metrics.CYCLE_DURATION, duration_s)

    def families(self, pids: Mapping[str, int] | None = None) -> list[Family]:
        """Everything counted so far, and what /proc says of the processes named in `pids` (default: only this one)."""
        ready = [metrics.family(metric, dict(series)) for metric, series in list(self._values.items())]
        ready += [
            metrics.histogram(metric, EDGES[metric], {labels: (list(c), t) for labels, (c, t) in list(series.items())})
            for metric, series in list(self._histograms.items())
        ]
        return ready + process_families({"agent": os.getpid()} | dict(pids or {}))


def process_families(pids: Mapping[str, int]) -> list[Family]:
    """CPU, resident memory and descriptors per named process; one that has gone has no series."""
    found = {name: usage for name, pid in pids.items() if (usage := _usage(Path(f"/proc/{pid}"))) is not None}
    columns = (metrics.AGENT_CPU, metrics.AGENT_MEMORY, metrics.AGENT_FILES)
    return [
        metrics.family(metric, {(name,): usage[i] for name, usage in found.items()}) for i, metric in enumerate(columns)
    ]


def _usage(proc: Path) -> tuple[float, float, float] | None:
    """CPU seconds, resident bytes, open descriptors. ProcSubset=pid hides /proc/stat and the like, these files stay."""
    try:
        # the command's name may hold spaces and brackets: count from behind it
        numbers = (proc / "stat").read_text().rpartition(")")[2].split()
        descriptors = len(os.listdir(proc / "fd"))  # noqa: PTH208 - names only, no object per descriptor
    except (OSError, ValueError):
        return None
    cpu_s = (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")
    return cpu_s, int(numbers[21]) * float(os.sysconf("SC_PAGE_SIZE")), float(descriptors)


class Notifier:
    """Our side of systemd's notify protocol; silent where nobody asked (no $NOTIFY_SOCKET)."""

    def __init__(self, address: str | None, watchdog_s: float | None = None) -> None:
        self.watchdog_s = watchdog_s if address else None
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
            # a leading @ stands for the abstract namespace
            self._address = "\0" + address[1:] if address.startswith("@") else address

    @classmethod
    def from_environment(cls) -> Notifier:
        """Take the socket's address out of the environment, so that worker processes do not speak for us."""
        address = os.environ.pop("NOTIFY_SOCKET", None)
        watchdog_us, pid = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
        is_ours = watchdog_us.isdecimal() and int(watchdog_us) > 0 and pid in ("", str(os.getpid()))
        return cls(address, int(watchdog_us) / 1e6 if is_ours else None)

    def ready(self, status: str) -> None:
        """Start-up is over: sockets are open, the first round is on its way."""
        self._send("READY=1", f"STATUS={_line(status)}")

    def progress(self, status: str = "") -> None:
        """A cycle has finished. To be called more often than `watchdog_s`, and by nothing but finished work."""
        words = [f"STATUS={_line(status)}"] if status else []
        if self.watchdog_s is not None:
            words.append("WATCHDOG=1")
        if words:
            self._send(*words)

    def stopping(self) -> None:
        self._send("STOPPING=1", "STATUS=stopping")

    def _send(self, *words: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto("\n".join(words).encode(), self._address)
        except OSError:
            # systemd gone or its queue full: the next cycle tells it again, and the watchdog judges the rest
            pass


def _line(text: str) -> str:
    return " ".join(text.split())[:200]
