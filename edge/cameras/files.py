"""Images of a folder as a camera: each once, in name order."""

import time
from collections.abc import Iterator
from pathlib import Path

from edge.frame import Frame
from edge.images import find_images, read_image, shown


class FilesCamera:
    """Gives every image under a folder once; the file's own folder is the specimen."""

    live = False

    def __init__(self, folder: Path):
        self._folder = folder
        self._paths: Iterator[Path] = iter(())

    def open(self) -> None:
        """List the images.

        Raises:
            InputError: the folder is missing or holds no image.
        """
        self._paths = iter(find_images([self._folder]))

    def read(self) -> Frame | None:
        """The next image, or None after the last.

        Raises:
            ImageError: this image cannot be read; the next call goes on.
        """
        path = next(self._paths, None)
        if path is None:
            return None
        pixels = read_image(path)
        return Frame(pixels, time.time_ns(), time.monotonic_ns(), shown(path), shown(Path(path.parent.name)))

    def close(self) -> None:
        """Nothing is held open."""
