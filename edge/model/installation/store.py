"""The models of a box's own folder and which of them runs: one small file that is replaced as a whole.

    DIR/<sha256>.tflite   model files, never changed
    DIR/state.json        which one runs, which ran before, whether it is on trial
    DIR/.lock             held by whoever writes

A power cut between any two steps leaves a state that names a whole file: a model's file is on the disk before the
state names it, and removed after no state does.
"""

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec

from edge.errors import InputError, LeukoscopeError
from edge.host.durable import PARTIAL_SUFFIX, flush_folder, replace_file
from edge.model.bundle import read_bounded
from edge.model.installed import SUFFIX

STATE_FILE, LOCK_FILE = "state.json", ".lock"

KEPT = 3
"""Models that ran before are kept so many, to go back to."""

_LARGEST_STATE_BYTES = 64 * 1024
_Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A([0-9a-f]{64})?\Z")]


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """A model that has not yet shown that it works in the daemon.

    Attributes:
        since: seconds since 1970.
        starts: how often a daemon has begun with it.
    """

    since: float
    starts: int = 0


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Which model runs.

    Attributes:
        current: sha256 of its file; "" for the one of the settings.
        before: what ran before, the newest first; "" for the one of the settings.
        trial: None once it has shown that it works.
        counters: of each key, the highest counter of a signature that was installed.
        fault: why the box last went back by itself, or "".
        at: when this was written, seconds since 1970.
    """

    schema: int = 1
    current: _Sha256 = ""
    before: Annotated[list[_Sha256], msgspec.Meta(max_length=16)] = []
    trial: Trial | None = None
    counters: dict[str, int] = {}
    fault: str = ""
    at: float = 0.0


class Store:
    """The folder.

    Args:
        folder: [model] directory; it is made by the first installation.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def state(self) -> State:
        """What is written; that of a box without installed models if nothing is.

        Raises:
            LeukoscopeError: it is there and cannot be read.
        """
        file = self.folder / STATE_FILE
        try:
            with file.open("rb") as opened:
                data = opened.read(_LARGEST_STATE_BYTES)
        except FileNotFoundError:
            return State()
        except NotADirectoryError:
            return State()
        except OSError as error:
            raise LeukoscopeError(f"{file}: {error.strerror}") from error
        return decode_state(data, file)

    def stamp(self) -> tuple[int, int]:
        """Changes whenever the state is written; quick enough to ask for once a second."""
        try:
            found = (self.folder / STATE_FILE).stat()
        except OSError:
            return 0, 0
        return found.st_ino, found.st_mtime_ns

    def file(self, sha256: str) -> Path:
        """Where the model of this hash lies."""
        return self.folder / f"{sha256}{SUFFIX}"

    def has(self, sha256: str) -> bool:
        """Whether the file is there and is what its name says."""
        with contextlib.suppress(InputError):
            return hashlib.sha256(read_bounded(self.file(sha256))).hexdigest() == sha256
        return False

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock: one installation at a time.

        Raises:
            LeukoscopeError: somebody else holds it, or the folder cannot be made or written.
        """
        try:
            self._make()
            descriptor = os.open(self.folder / LOCK_FILE, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise LeukoscopeError(
                f"{self.folder}: {error.strerror}; run this as root or as the user leukoscope, or set [model] "
                "directory to a folder that this user may write"
            ) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LeukoscopeError("another installation of a model is running; wait for it") from None
            yield
        finally:
            os.close(descriptor)

    def add(self, data: bytes) -> str:
        """Keep a model file; it is on the disk when this returns. Call it while `writing`.

        Returns:
            Its sha256.

        Raises:
            LeukoscopeError: the disk refuses.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        if not self.has(sha256):
            replace_file(self.file(sha256), data)
        return sha256

    def write(self, state: State) -> None:
        """Replace the state; it is on the disk when this returns. Call it while `writing`.

        Raises:
            LeukoscopeError: the disk refuses; the state before holds.
        """
        stamped = msgspec.structs.replace(state, at=time.time())
        replace_file(self.folder / STATE_FILE, msgspec.json.encode(stamped) + b"\n")

    def clean(self) -> None:
        """Remove files that no state names and what a power cut left half written. Call it while `writing`."""
        state = self.state()
        named = {f"{sha256}{SUFFIX}" for sha256 in (state.current, *state.before)}
        for file in self.folder.iterdir():
            partial = file.name.startswith(".") and file.name.endswith(PARTIAL_SUFFIX)
            if partial or (file.suffix == SUFFIX and file.name not in named):
                with contextlib.suppress(OSError):  # it takes space, and harms nothing
                    file.unlink()

    def _make(self) -> None:
        """Make the folder; as root, for the user of the folder above: the daemon writes here too."""
        if self.folder.is_dir():
            return
        self.folder.mkdir(mode=0o755, parents=True)
        above = self.folder.parent.stat()
        if os.geteuid() == 0:
            os.chown(self.folder, above.st_uid, above.st_gid)
        flush_folder(self.folder.parent)


def decode_state(data: bytes, file: Path) -> State:
    """The state that such a file holds.

    Raises:
        LeukoscopeError: it holds none.
    """
    try:
        return msgspec.json.decode(data, type=State)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise LeukoscopeError(f"{file}: {error}; remove it to use the model of the settings") from error
