"""Text of the settings stays as it was written, and none of it is ignored."""

from pathlib import Path

import pytest
from pictures import pictures

from edge.cameras.settings import CameraSettings, SimulatorSettings
from edge.cameras.sources import make_camera


def specimen_of(source: str, specimen: str = "") -> str:
    camera = make_camera(CameraSettings(source=source, specimen=specimen, fps=0), SimulatorSettings())
    camera.open()
    frame = camera.read()
    camera.close()
    assert frame is not None
    return frame.specimen


@pytest.mark.parametrize("specimen", ["H24//0815/", "a/./b", "../x", ".", " two  blanks ", "C:\\u0000x"])
def test_a_specimen_is_the_text_of_the_settings(specimen: str, tmp_path: Path) -> None:
    pictures(tmp_path / "cells", 1)
    assert specimen_of(f"files:{tmp_path}/cells", specimen) == specimen
    assert specimen_of("simulator", specimen) == specimen


def test_the_folder_names_the_specimen_however_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path / "slide 7", 1)
    (tmp_path / "slide 7" / "inner").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "slide 7")
    monkeypatch.chdir(tmp_path / "slide 7")
    assert specimen_of("files:.") == "slide 7"
    assert specimen_of("files:inner/..") == "slide 7"
    assert specimen_of(f"files:{tmp_path}/link") == "link"
    assert specimen_of("simulator") == "simulated"
