"""How many cores OpenCV takes. Each command sets it when its process starts; see also `edge.cli.main`."""

import cv2


def use_cores(count: int) -> None:
    """Let OpenCV work in so many threads, in this whole process.

    By itself it would use every core, and wait for those that are busy with other work.
    """
    cv2.setNumThreads(count)
