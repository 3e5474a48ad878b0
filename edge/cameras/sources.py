"""From the setting `camera.source` to the back-end that reads it, which alone is loaded: a box starts sooner."""

from pathlib import Path

from edge.cameras.base import Camera
from edge.cameras.settings import IN_A_CHILD, KNOWN, CameraSettings, SimulatorSettings, address
from edge.errors import InputError


def make_camera(camera: CameraSettings, simulator: SimulatorSettings, region_px: int = 0) -> Camera:
    """The camera that the settings name, not opened yet.

    Args:
        camera: what to open.
        simulator: what that draws.
        region_px: side of the centred square that is wanted of a frame; 0 for all of it. A back-end may
            give more.

    Raises:
        InputError: no back-end knows that source, or it cannot be made from these settings.
    """
    source = address(camera.source)
    if source == "simulator":
        from edge.cameras.backends.simulator import DRAWN_SIDE_PX, SimulatorCamera

        width, height = camera.width or DRAWN_SIDE_PX, camera.height or DRAWN_SIDE_PX
        return SimulatorCamera(simulator, width, height, camera.fps, camera.specimen)
    if source.startswith("files:"):
        from edge.cameras.backends.files import VIDEO_SUFFIXES, FilesCamera

        path = Path(source.removeprefix("files:"))
        if path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir():
            from edge.cameras.backends.opencv import VideoFile

            return VideoFile(path, camera.loop, camera.specimen)
        return FilesCamera(path, camera.loop, camera.specimen)
    if IN_A_CHILD.match(source):
        from edge.cameras.backends.child import ChildCamera

        return ChildCamera(camera, region_px)
    raise InputError(f"camera.source is {camera.source!r}; give {KNOWN}")
