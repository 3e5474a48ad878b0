"""How many cores OpenCV uses. Each command sets it when its process starts; see also `edge.cli.main`."""

import cv2


def use_cores(count: int) -> None:
    """Limit OpenCV to this number of threads, in the whole process.

    By itself it would use every core, and wait for those that are busy with other work.
    """
    cv2.setNumThreads(count)
