"""Pictures of results, kept on the box: durable before their record is accepted, bounded, the oldest removed."""

import contextlib
import hashlib
import logging
import stat
import time
from collections import deque
from pathlib import Path

import cv2

from edge.errors import LeukoscopeError
from edge.host.durable import PARTIAL_SUFFIX, flush_folder, replace_file
from edge.imaging.frame import Pixels
from edge.outbox.settings import ArchiveSettings as ArchiveSettings
from edge.records import ImageReference

log = logging.getLogger(__name__)

PNG_COMPRESSION = 1
"""Compression level, 0 to 9; lossless at any level. 9 saves a sixth of the space and takes 14 times as long."""

RETRY_S = 60.0
"""Seconds until pictures that could not be removed are tried again: there may be very many of them."""


class Archive:
    """Keeps pictures as PNG files, `<day>/<record id>.png`. For one thread.

    Args:
        settings: see there.

    Attributes:
        fault: why pictures cannot be kept at the moment, or "".

    Raises:
        LeukoscopeError: the folder cannot be made or read.
    """

    def __init__(self, settings: ArchiveSettings):
        self._keep, self._limit_bytes = settings.keep, settings.max_mb * 2**20
        self._folder = Path(settings.directory)
        self._files: deque[tuple[Path, int]] = deque()
        self._bytes = 0
        self._retry_at_s = 0.0
        self.fault = ""
        if self._keep == "none":
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._take_stock()
        except OSError as error:
            raise LeukoscopeError(
                f"archive {self._folder}: {error.strerror}; set [archive] directory to a folder that this user may "
                "write"
            ) from error
        try:
            self._make_room(0)
        except LeukoscopeError as error:
            self._fails(error)

    def keep(self, record_id: str, verdict: str, picture: Pixels) -> ImageReference | None:
        """Keep the picture of a result if the settings say so; it is on the disk when this returns.

        If the disk refuses, the picture is lost, not the result: it is logged once, and None is returned.

        Args:
            record_id: UUIDv7.
            verdict: of the record.
            picture: (H, W, 3) uint8 RGB.
        """
        if self._keep == "none" or (self._keep == "referred" and verdict != "refer"):
            return None
        data = _png(picture)
        name = f"{time.strftime('%Y-%m-%d', time.gmtime())}/{record_id}.png"
        file = self._folder / name
        try:
            self._make_room(len(data))
            if not file.parent.exists():
                file.parent.mkdir(parents=True)
                flush_folder(self._folder)
            replace_file(file, data, mode=None)
        except (LeukoscopeError, OSError) as error:
            self._fails(error)
            self._withdraw(file, len(data))
            return None
        if self.fault:
            log.info("archive %s: pictures are kept again", self._folder)
            self.fault = ""
        self._count(file, len(data))
        return ImageReference(name=name, sha256=hashlib.sha256(data).hexdigest())

    def state(self) -> dict[str, int | float | str]:
        """For health."""
        return {"images": len(self._files), "mb": round(self._bytes / 2**20, 1), "fault": self.fault}

    def _take_stock(self) -> None:
        """Count the pictures, and remove files that a kill or a power cut left incomplete."""
        # Days and UUIDv7 both sort by time.
        for file in sorted(self._folder.glob("*/*")):
            try:
                found = file.lstat()
                if not stat.S_ISREG(found.st_mode):
                    continue
                if file.name.startswith(".") and (
                    file.name.endswith(PARTIAL_SUFFIX)
                    or ".png." in file.name  # as earlier versions named them
                ):
                    file.unlink()
                elif file.suffix == ".png":
                    self._count(file, found.st_size)
            except FileNotFoundError:
                continue
            except OSError as error:  # it cannot be removed, so it counts
                log.warning("archive: %s cannot be removed: %s", file, error.strerror)
                self._count(file, found.st_size)

    def _count(self, file: Path, size: int) -> None:
        self._files.append((file, size))
        self._bytes += size

    def _withdraw(self, file: Path, size: int) -> None:
        """Remove a picture that no record names: it may be there if the disk refused only the last step."""
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            log.debug("archive: %s: %s", file, error.strerror)
            if file.exists():
                self._count(file, size)

    def _fails(self, error: Exception) -> None:
        if not self.fault:
            log.error("archive: %s; results go on without pictures", error)
        self.fault = str(error)

    def _make_room(self, needed_bytes: int) -> None:
        """Remove the oldest pictures until there is room for `needed_bytes` more.

        Raises:
            LeukoscopeError: that many cannot be removed; they still count.
        """
        if self._bytes + needed_bytes <= self._limit_bytes:
            return
        if needed_bytes > self._limit_bytes:
            raise LeukoscopeError(f"a picture of {needed_bytes} bytes is larger than [archive] max_mb")
        if time.monotonic() < self._retry_at_s:
            raise LeukoscopeError(self.fault)
        stuck: list[tuple[Path, int]] = []
        refusal: OSError | None = None
        while self._files and self._bytes + needed_bytes > self._limit_bytes:
            file, size = self._files.popleft()
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                stuck.append((file, size))
                refusal = error
                continue
            self._bytes -= size
            with contextlib.suppress(OSError):  # the day's folder holds others
                file.parent.rmdir()
        self._files.extendleft(reversed(stuck))
        if self._bytes + needed_bytes > self._limit_bytes:
            self._retry_at_s = time.monotonic() + RETRY_S
            raise LeukoscopeError(
                f"{stuck[0][0]} cannot be removed ({refusal.strerror if refusal else '?'}), and a further picture would "
                f"take the archive over its {self._limit_bytes // 2**20} MB ([archive] max_mb)"
            )


def _png(picture: Pixels) -> bytes:
    options = [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION]
    return cv2.imencode(".png", picture[..., ::-1], options)[1].tobytes()
