"""A real PostgreSQL on a free port of 127.0.0.1, in a folder of its own; it refuses root, so root hands it on."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
from conftest import find_peer

PASSWORD = "correct horse"
DEADLINE_S = 60.0


class Postgres:
    """Stopped until `start`; `kill` ends it as a power cut of its machine would, without a checkpoint."""

    def __init__(self, port: int) -> None:
        self.port = port
        # not pytest's folder: root keeps that to itself
        self._folder = Path(tempfile.mkdtemp(prefix="hashwatt-pg-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            user = next(entry for entry in pwd.getpwall() if entry.pw_name in ("postgres", "nobody"))
            self._as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
            os.chown(self._folder, user.pw_uid, user.pw_gid)
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run(
            find_peer("initdb") or "initdb", "-D", str(self._folder / "data"), "-U", "farm", f"--pwfile={secret}",
            "--auth=scram-sha-256", "--no-sync", "--no-locale", "--encoding=UTF8",
        )  # fmt: skip

    def url(self, database: str, password: str = PASSWORD) -> str:
        return f"postgresql://farm:{password.replace(' ', '%20')}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        command = [
            find_peer("postgres") or "postgres", "-D", str(self._folder / "data"), "-p", str(self.port),
            "-h", "127.0.0.1", "-k", str(self._folder), "-c", "fsync=off", "-c", "shared_buffers=16MB",
        ]  # fmt: skip
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*self._as_user, *command], stdout=log, stderr=log, cwd="/")
        end_s = time.monotonic() + DEADLINE_S
        while not self._answers():
            assert time.monotonic() < end_s, (self._folder / "log").read_text()
            time.sleep(0.02)

    def kill(self) -> None:
        self._end(signal.SIGQUIT)

    def execute(self, database: str, *statements: str) -> list[tuple[object, ...]]:
        """The rows of the last statement."""
        with psycopg.connect(self.url(database), autocommit=True) as session:
            for statement in statements:
                cursor = session.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def remove(self) -> None:
        self._end(signal.SIGINT)
        shutil.rmtree(self._folder)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(DEADLINE_S)
            self._process = None

    def _run(self, *command: str) -> None:
        subprocess.run([*self._as_user, *command], check=True, capture_output=True, timeout=DEADLINE_S, cwd="/")
