"""From the setting `camera.source` to the back-end that reads it."""

from pathlib import Path

from edge.cameras.base import Camera
from edge.cameras.files import FilesCamera
from edge.cameras.simulator import SimulatorCamera
from edge.errors import InputError
from edge.settings import Settings


def make_camera(settings: Settings) -> Camera:
    """The camera that the settings name, not opened yet.

    Raises:
        InputError: no back-end knows that source.
    """
    camera = settings.camera
    if camera.source == "simulator":
        return SimulatorCamera(settings.simulator, camera.width, camera.height, camera.fps)
    if camera.source.startswith("files:"):
        return FilesCamera(Path(camera.source.removeprefix("files:")))
    raise InputError(f"camera.source is {camera.source!r}; this version reads files:DIR and simulator")
