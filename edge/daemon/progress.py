"""Which images of a folder are done, across restarts: each gives one result, however often the daemon is restarted."""

import hashlib
import logging
import os
import re
from pathlib import Path

import msgspec

from edge.imaging.frame import Frame
from edge.outbox.queue import Outbox
from edge.settings import Settings

log = logging.getLogger(__name__)

MOST_STARTS = 3
"""Runs. An image that was begun in this many runs and finished in none of them crashes the program: it is skipped."""

_MARK_BYTES = 16
# As a video file names its frames.
_VIDEO_FRAME = re.compile(r"(?P<file>.*), frame \d+", re.DOTALL)


class _Begun(msgspec.Struct):
    """The image that is being read and classified; `starts` counts the runs that have begun it."""

    mark: bytes = b""
    starts: int = 0


class Progress:
    """A finished image is marked in the outbox, in the same commit as its record.

    An image is known by its path, size and time of change; with another model or other settings of the camera
    or the quality it counts as another image.

    Args:
        outbox: holds the marks; a small file beside it names the image that is being processed.
        settings: of the box.
        model_sha256: of the model file.
        again: take images too that are done; they are marked anew.

    Attributes:
        skipped: how many images were done before.
        refused: how many are skipped, since they crashed the program.

    Raises:
        LeukoscopeError: the marks cannot be read.
    """

    def __init__(self, outbox: Outbox, settings: Settings, model_sha256: str, again: bool = False):
        self._outbox = outbox
        parts = (settings.camera, settings.model.refer_below, settings.quality, model_sha256)
        self._scope = hashlib.sha256(msgspec.json.encode(parts)).digest()
        self._done = set() if again else outbox.marks()
        self._file = Path(f"{outbox.file}.image")
        self._before = self._read()
        self._current = b""
        self.skipped = self.refused = 0

    def wants(self, path: Path) -> bool:
        """Whether an image file is to be read now; the camera calls this just before it reads the file."""
        return self._begin(str(path), path)

    def begins(self, frame: Frame) -> bool:
        """Whether a frame that was read is to be classified: for a file `wants` has decided it; for a video it is
        decided now."""
        video = _VIDEO_FRAME.fullmatch(frame.source)
        return video is None or self._begin(frame.source, Path(video["file"]))

    def classified(self) -> bytes:
        """The image was processed without a crash; returns its mark, for its record."""
        self._write(_Begun())
        self._done.add(self._current)
        return self._current

    def unreadable(self) -> None:
        """The image gives no record and is not tried again."""
        self._outbox.mark(self.classified())

    def _begin(self, source: str, path: Path) -> bool:
        self._current = self._mark(source, path)
        if self._current in self._done:
            self.skipped += 1
            return False
        starts = self._before.starts + 1 if self._current == self._before.mark else 1
        if starts > MOST_STARTS:
            log.error("%s is left out: the program ended %d times while it worked at it", path, MOST_STARTS)
            self.refused += 1
            self.unreadable()
            return False
        self._write(_Begun(self._current, starts))
        return True

    def close(self) -> None:
        """The run ends normally: no image has crashed it."""
        self._file.unlink(missing_ok=True)
        if self.skipped:
            log.warning(
                "%d images were left out: an earlier run has classified them with this model and these settings; "
                "leukoscope run --again classifies them once more",
                self.skipped,
            )

    def _mark(self, source: str, path: Path) -> bytes:
        try:
            found = path.stat()
            version = f"{found.st_size} {found.st_mtime_ns}"
        except OSError:
            version = ""
        text = os.fsencode(source) + b"\0" + version.encode()
        return hashlib.sha256(self._scope + text).digest()[:_MARK_BYTES]

    def _read(self) -> _Begun:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=_Begun)
        except (OSError, msgspec.MsgspecError):
            return _Begun()

    def _write(self, begun: _Begun) -> None:
        # Not synced: a power cut is not the image's fault.
        try:
            self._file.write_bytes(msgspec.json.encode(begun))
        except OSError as error:
            log.debug("%s: %s", self._file, error)
