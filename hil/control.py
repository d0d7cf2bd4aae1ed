"""Steering a farm that runs in another process: JSON lines over a loopback socket, one order, one answer.

`ControlServer` lives in the farm, `FarmControl` in tests and benchmarks, and `FarmProcess` is a farm with its control,
started and ended together.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from hil.loopback import tcp_listener

MAX_LINE_BYTES = 64 * 1024 * 1024
"""The truth of 100,000 machines is some 30 MB of JSON."""

Obey = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]


class ControlError(RuntimeError):
    """The farm refused an order, or has gone."""


class ControlServer:
    """Answers each line with `{"ok": true, ...}` or `{"ok": false, "error": text}`; the order "stop" ends the farm."""

    def __init__(self, obey: Obey, stop: Callable[[], None]) -> None:
        self._obey = obey
        self._stop = stop
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.Task[None]] = set()

    async def open(self, port: int) -> int:
        """Listens on 127.0.0.1; returns the port."""
        sock = tcp_listener("127.0.0.1", port)
        self._server = await asyncio.start_server(self._serve, sock=sock, limit=MAX_LINE_BYTES)
        return int(sock.getsockname()[1])

    async def aclose(self) -> None:
        if self._server is not None:
            self._server.close()
        for session in list(self._sessions):
            session.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = asyncio.current_task()
        assert session is not None
        self._sessions.add(session)
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError, asyncio.CancelledError):
            pass  # the steering side has gone, sent an endless line, or the farm ends
        finally:
            self._sessions.discard(session)
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            order = json.loads(line)
            if order.get("do") == "stop":
                self._stop()
                return {"ok": True}
            return {"ok": True, **await self._obey(order)}
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}


class FarmControl:
    """A blocking client of the control socket, for tests and benchmarks in other processes."""

    def __init__(self, port: int, timeout_s: float = 60.0) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self._lines = self._sock.makefile("rb")

    def order(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Sends one order and returns the answer's fields. Errors: ControlError."""
        self._sock.sendall(json.dumps({"do": do, **arguments}).encode() + b"\n")
        line = self._lines.readline()
        if not line:
            raise ControlError("the farm has gone")
        answer: dict[str, Any] = json.loads(line)
        if not answer.pop("ok"):
            raise ControlError(answer["error"])
        return answer

    def truth(self) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = self.order("truth")["truth"]
        return columns

    def traffic(self) -> dict[str, int]:
        counts: dict[str, int] = self.order("traffic")["traffic"]
        return counts

    def close(self) -> None:
        self._lines.close()
        self._sock.close()


class FarmProcess:
    """A farm in a process of its own: `with FarmProcess("--machines", "1000") as farm: farm.control.order(...)`.

    `ready` is what the farm printed when everything listened: machines, pdus, feeds, control, and config where asked.
    It runs in a session of its own, so that a Ctrl-C at the terminal is ours to pass on. `log` takes its complaints.
    """

    def __init__(self, *arguments: str, deadline_s: float = 60.0, log: TextIO | None = None) -> None:
        self._arguments = (*arguments, *(() if "--control" in arguments else ("--control", "0")))
        self._deadline_s = deadline_s
        self._log = log
        self.ready: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(  # noqa: S603 - our own module, arguments of the caller
            (sys.executable, "-m", "hil.farm", *self._arguments),
            stdout=subprocess.PIPE,
            stderr=self._log,
            stdin=subprocess.DEVNULL,
            cwd=Path(__file__).parent.parent,
            start_new_session=True,
        )
        try:
            assert self.process.stdout is not None
            line = self.process.stdout.readline()
            if not line:
                raise ControlError(f"the farm did not start (exit {self.process.wait()})")
            self.ready = json.loads(line)
            self.control = FarmControl(self.ready["control"], self._deadline_s)
        except BaseException:  # also a Ctrl-C while it starts: nobody else would end it
            end(self.process)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.control.close()
        end(self.process)

    def write_site(self, directory: Path, **options: Any) -> Path:
        """See `Farm.write_site`."""
        return Path(self.control.order("write_site", directory=str(directory), options=options)["config"])


def end(process: subprocess.Popen[Any], patience_s: float = 10.0, signals: Sequence[int] = (signal.SIGTERM,)) -> int:
    """Ends a child by asking first; returns its exit code. A child that has ended already is fine."""
    for number in (*signals, signal.SIGKILL):
        if process.poll() is None:
            process.send_signal(number)
        try:
            process.wait(patience_s)
            break
        except subprocess.TimeoutExpired:
            continue
    if process.stdout is not None:
        process.stdout.close()
    return process.wait()
