"""What every camera back-end offers."""

from typing import Protocol

from edge.frame import Frame


class Camera(Protocol):
    """One source of frames.

    A live camera shows what is before it now: frames that nobody took are gone, and the daemon
    classifies the newest. One that is not live (a folder of images) gives each frame once, and
    waits until it is taken.
    """

    live: bool

    def open(self) -> None:
        """Make ready to read.

        Raises:
            LeukoscopeError: the source cannot be opened; the message says why and what to do.
        """

    def read(self) -> Frame | None:
        """The next frame, waiting for it as long as the source needs; None after the last.

        Raises:
            ImageError: this one frame cannot be read; the next call goes on with the one after it.
            LeukoscopeError: the source failed.
        """

    def close(self) -> None:
        """Give the source back; may be called twice."""
