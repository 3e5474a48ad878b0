"""A real PostgreSQL on a free loopback port, in a temporary folder of its own."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from broker import free_port

USER = "postgres"


class PostgreSQL:
    """Skips the test where PostgreSQL is not installed; it refuses to run as root, and so runs as its own user."""

    def __init__(self) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not programs:
            pytest.skip("PostgreSQL is not installed (apt install postgresql)")
        self._bin = programs[-1].parent
        self._as_user = ["runuser", "-u", USER, "--"] if os.getuid() == 0 else []
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="leukoscope-postgresql-"))
        if self._as_user:
            shutil.chown(self.folder, USER)
        self._run("initdb", "-D", str(self.folder / "data"), "-A", "trust", "-U", USER, "--no-sync")
        self.address = f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def start(self) -> "PostgreSQL":
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder}"
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-l", log, "-o", options, "-w", "start")
        return self

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; "immediate" is what a crash does."""
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", mode, "-w", "stop")

    def query(self, text: str) -> list[tuple]:
        import psycopg

        with psycopg.connect(self.address) as connection:
            cursor = connection.execute(text)
            while cursor.nextset():  # of several statements, the last one's
                pass
            return cursor.fetchall() if cursor.description else []

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [*self._as_user, self._bin / program, *arguments],
            cwd=self.folder,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=120,
        )

    def __enter__(self) -> "PostgreSQL":
        return self.start()

    def __exit__(self, *_: object) -> None:
        for _attempt in range(3):
            try:
                self.stop()
                break
            except subprocess.CalledProcessError:  # it is stopped already
                time.sleep(0.2)
        shutil.rmtree(self.folder, ignore_errors=True)
