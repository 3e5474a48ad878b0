"""What every camera back-end offers."""

from typing import Protocol

from edge.imaging.frame import Frame


class Camera(Protocol):
    """One source of frames.

    A live camera gives the newest frame: frames that nobody took are dropped, and the daemon classifies the newest.
    One that is not live (a folder of images) gives each frame once, and waits until it is taken.

    Attributes:
        live: see above.
        description: once it is open, what was agreed with the source: size, pixel format, rate, controls.
    """

    live: bool
    description: str

    def open(self) -> None:
        """Open the source.

        Raises:
            LeukoscopeError: the source cannot be opened; the message says why and what to do.
        """

    def read(self) -> Frame | None:
        """The next frame, waiting for it as long as the source needs; None after the last.

        Of a live camera it was captured after this call, or was the newest when it came.

        Raises:
            ImageError: this one frame cannot be read; the next call goes on with the one after it.
            LeukoscopeError: the source failed.
        """

    def close(self) -> None:
        """Release the source; may be called twice, and by another thread than the one that reads."""


class DeviceCamera(Camera, Protocol):
    """A camera whose frames queue up in its driver unless they are taken: it is run by `edge.cameras.backends.worker`.

    A back-end inherits from it and gives `grab` and `retrieve`.
    """

    def read(self) -> Frame:
        """The next frame: `grab` and `retrieve`."""
        self.grab()
        return self.retrieve()

    def grab(self) -> None:
        """Wait for the next frame and take it from the source, as cheaply as that allows.

        Raises:
            LeukoscopeError: the source failed.
        """

    def retrieve(self) -> Frame:
        """The frame that was grabbed.

        Raises:
            ImageError: it cannot be decoded.
        """
