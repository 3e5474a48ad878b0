"""A logger's client id: the same at every start, never one that runs, and never one that a box could have."""

import fcntl
import hashlib
import logging
import os
import re
import time
import uuid
from pathlib import Path
from typing import IO

from edge.errors import LeukoscopeError

log = logging.getLogger(__name__)

# A box's id begins with "leukoscope-": no presence message can make a logger take one.
LOGGER_ID = re.compile(r"leukolog-[0-9a-f]{16}\Z")
SLOTS = 1000
# An id that nobody has used for so long has no session at any broker any more.
FORGOTTEN_S = 90 * 24 * 3600


class Identity:
    """A client id that is taken until it is released.

    It is drawn by chance at the first start and kept in a file of the state folder, so that neither another host
    name nor a removed file can give two loggers one id. Loggers that would have the same one get the next file.

    Args:
        parts: what makes a logger the same one: broker, store, topic, group.
        folder: by default `state_folder()`.

    Attributes:
        client_id: as the broker knows this logger.

    Raises:
        LeukoscopeError: the folder cannot be written, or too many loggers of this kind run.
    """

    def __init__(self, *parts: str, folder: Path | None = None):
        folder = folder or state_folder()
        digest = hashlib.sha256("\n".join(parts).encode(errors="surrogatepass")).hexdigest()[:16]
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file, self.client_id = _take(folder, digest)
            _remove_forgotten(folder)
        except OSError as error:
            raise LeukoscopeError(
                f"cannot keep this logger's id in {folder}: {error.strerror}; set XDG_STATE_HOME to a folder "
                "that it may write"
            ) from error

    def release(self) -> None:
        """Let another logger have the id."""
        self._file.close()


def state_folder() -> Path:
    """Where the ids of loggers are kept: systemd's state folder, else $XDG_STATE_HOME or ~/.local/state."""
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given) / "loggers"
    home = os.environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return Path(home) / "leukoscope" / "loggers"


def _take(folder: Path, digest: str) -> tuple[IO[str], str]:
    for number in range(SLOTS):
        path = folder / f"{digest}-{number}.id"
        file = open(path, "a+", encoding="utf-8")
        if not _locked(file) or not _is_still(file, path):
            file.close()
            continue
        file.seek(0)
        known = file.read(100).strip()
        if not LOGGER_ID.match(known):
            known = f"leukolog-{uuid.uuid4().hex[:16]}"
            file.truncate(0)
            file.write(known + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.utime(path)
        return file, known
    raise LeukoscopeError(f"{SLOTS} loggers of this kind run on this machine already")


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(file: IO[str], path: Path) -> bool:
    """Whether the file was not removed between opening and locking it."""
    try:
        return os.fstat(file.fileno()).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def _remove_forgotten(folder: Path) -> None:
    for path in folder.glob("*.id"):
        try:
            if time.time() - path.stat().st_mtime < FORGOTTEN_S:
                continue
            with open(path, encoding="utf-8") as file:
                if _locked(file):
                    path.unlink()
        except OSError as error:  # another logger removes it at the same time
            log.debug("%s: %s", path, error)
