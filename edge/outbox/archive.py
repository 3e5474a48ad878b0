"""Pictures of results, kept on the box: durable before their record is accepted, bounded, the oldest removed."""

import hashlib
import logging
import time
from collections import deque
from pathlib import Path
from typing import Annotated, Literal

import cv2
import msgspec
from msgspec import Meta

from edge.errors import LeukoscopeError
from edge.host.durable import flush_folder, replace_file
from edge.imaging.frame import Pixels
from edge.records import ImageReference

log = logging.getLogger(__name__)

PNG_COMPRESSION = 1
"""Of 0 to 9; lossless in any case. 9 saves a sixth of the space and takes 14 times as long."""


class ArchiveSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which pictures are kept, and where.

    Attributes:
        directory: a folder of the archive's own: what is oldest in it is removed.
        keep: "none", "referred" (those that a person has to look at) or "all".
        max_mb: megabytes (2^20 bytes) that the pictures may take together.
    """

    directory: str = "/var/lib/leukoscope/archive"
    keep: Literal["none", "referred", "all"] = "none"
    max_mb: Annotated[int, Meta(ge=1, le=10_000_000)] = 1000


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
        self.fault = ""
        if self._keep == "none":
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            # Days and UUIDv7 both sort by time.
            for file in sorted(self._folder.glob("*/*.png")):
                self._count(file, file.stat().st_size)
        except OSError as error:
            raise LeukoscopeError(
                f"archive {self._folder}: {error.strerror}; set [archive] directory to a folder that this user may "
                "write"
            ) from error
        self._remove_oldest()

    def keep(self, record_id: str, verdict: str, picture: Pixels) -> ImageReference | None:
        """Keep the picture of a result if the settings say so; it is on the disk when this returns.

        A disk that refuses costs the picture, not the result: it is logged once, and None is returned.

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
            if not file.parent.exists():
                file.parent.mkdir(parents=True)
                flush_folder(self._folder)
            replace_file(file, data)
        except (LeukoscopeError, OSError) as error:
            if not self.fault:
                log.error("archive: %s; results go on without pictures", error)
            self.fault = str(error)
            return None
        if self.fault:
            log.info("archive %s: pictures are kept again", self._folder)
            self.fault = ""
        self._count(file, len(data))
        self._remove_oldest()
        return ImageReference(name=name, sha256=hashlib.sha256(data).hexdigest())

    def state(self) -> dict[str, int | float | str]:
        """For health."""
        return {"images": len(self._files), "mb": round(self._bytes / 2**20, 1), "fault": self.fault}

    def _count(self, file: Path, size: int) -> None:
        self._files.append((file, size))
        self._bytes += size

    def _remove_oldest(self) -> None:
        while self._bytes > self._limit_bytes and len(self._files) > 1:
            file, size = self._files.popleft()
            self._bytes -= size
            try:
                file.unlink(missing_ok=True)
                if not any(file.parent.iterdir()):
                    file.parent.rmdir()
            except OSError as error:
                log.warning("archive: %s cannot be removed: %s", file, error.strerror)


def _png(picture: Pixels) -> bytes:
    options = [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION]
    return cv2.imencode(".png", picture[..., ::-1], options)[1].tobytes()
