"""The laboratory's own model on the page: adapted by a process of its own, installed and taken back by the box."""

import asyncio
import hashlib
import logging
import os
from pathlib import Path
from typing import Any

import msgspec

from edge.host import children
from edge.host.text import harmless
from edge.settings import Settings
from edge.web.faults import PageError

log = logging.getLogger(__name__)

FILE = "adapted.tflite"
LONGEST_S = 900.0
_LONGEST_ERROR = 500


class Laboratory:
    """One adaptation at a time.

    Args:
        settings: of the box.
        config: the settings file; None if there is none.
    """

    def __init__(self, settings: Settings, config: Path | None):
        self._settings, self._config = settings, config
        self._file = folder_of(settings) / FILE
        self._task: asyncio.Task[None] | None = None
        self._told: dict[str, Any] | None = None
        self._error = ""

    def state(self) -> dict[str, Any]:
        """Whether an adaptation is under way, what the last one gave, and why it failed, or ""."""
        running = self._task is not None and not self._task.done()
        return {"running": running, "outcome": self._told, "error": self._error}

    def start(self) -> None:
        """Begin to adapt, in a process of its own.

        Raises:
            PageError: one is under way.
        """
        if self.state()["running"]:
            raise PageError("an adaptation is under way", "busy", 409)
        self._told, self._error = None, ""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def made(self) -> tuple[str, str]:
        """Path and sha256 of the model that was made.

        Raises:
            PageError: none was made, or it was changed since.
        """
        wanted = self._told["sha256"] if self._told is not None and self._told.get("taken") else ""
        try:
            sha256 = hashlib.sha256(self._file.read_bytes()).hexdigest()
        except OSError:
            sha256 = ""
        if not wanted or sha256 != wanted:
            raise PageError("there is no new model; adapt one first", "no_model", 409)
        return str(self._file), sha256

    def close(self) -> None:
        """Stop what is under way."""
        if self._task is not None:
            self._task.cancel()

    def _command(self) -> list[str]:
        settings = self._settings
        words = ["adapt", "--from", settings.web.database, "--pictures", settings.archive.directory]
        words += ["--out", str(self._file), "--json"]
        if self._config is not None:
            words += ["--config", str(self._config)]
        return children.module_command("edge", *words)

    async def _run(self) -> None:
        process = None
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
            said, why = await asyncio.wait_for(process.communicate(), LONGEST_S)
        except (OSError, asyncio.TimeoutError) as error:
            self._error = harmless(f"the adaptation did not end: {error}", _LONGEST_ERROR)
            return
        finally:
            if process is not None and process.returncode is None:
                process.kill()
        try:
            self._told = msgspec.json.decode(said, type=dict[str, Any])
        except msgspec.MsgspecError:
            last = why.decode(errors="replace").strip().splitlines()[-1:] or ["it ended without an answer"]
            self._error = harmless(last[0].removeprefix("leukoscope: "), _LONGEST_ERROR)
            log.info("adaptation: %s", self._error)


def folder_of(settings: Settings) -> Path:
    """A folder that the page may write: beside an SQLite database, else the service's own."""
    scheme, _, rest = settings.web.database.partition(":///")
    if scheme == "sqlite" and rest:
        return Path(rest).resolve().parent
    return Path(os.environ.get("STATE_DIRECTORY", "/var/lib/leukoscope-log"))
