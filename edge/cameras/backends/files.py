"""Images of a folder as a camera: each once, in name order, or in a loop."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edge.imaging.files import find_images, read_image, shown
from edge.imaging.frame import Frame

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mkv", ".mov", ".webm", ".mjpeg", ".mjpg", ".m4v"})


class FilesCamera:
    """Gives every image under a folder once; if no specimen is set, it is the name of the image's folder.

    Args:
        folder: searched through in name order.
        loop: begin again after the last.
        specimen: of every frame; "" for the name of the file's folder.

    Attributes:
        wants: called before a file is read; a file for which it returns False is skipped.
    """

    live = False

    def __init__(self, folder: Path, loop: bool = False, specimen: str = ""):
        self._folder, self._loop, self._specimen = folder, loop, specimen
        self._paths: Iterator[Path] = iter(())
        self._readable = False
        self.wants: Callable[[Path], bool] = lambda _path: True
        self.description = ""

    def open(self) -> None:
        """List the images.

        Raises:
            InputError: the folder is missing or holds no image.
        """
        paths = find_images([self._folder])
        self._paths = iter(paths)
        self._readable = False
        self.description = f"{len(paths)} images"

    def read(self) -> Frame | None:
        """The next image, or None after the last.

        Raises:
            ImageError: this image cannot be read; the next call goes on.
        """
        path = next(filter(self.wants, self._paths), None)
        if path is None:
            if not (self._loop and self._readable):  # a loop over unreadable ones would never end
                return None
            self.open()
            return self.read()
        pixels = read_image(path)
        self._readable = True
        # The folder's own name also for "files:." and "files:.."; not that of what a link leads to.
        specimen = self._specimen or shown(Path(os.path.abspath(path)).parent).rpartition("/")[2]  # noqa: PTH100
        return Frame(pixels, time.time_ns(), time.monotonic_ns(), shown(path), specimen)

    def close(self) -> None:
        """Nothing is held open."""
