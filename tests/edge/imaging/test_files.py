"""Listing image files: one rule for the box and the host; what is no picture never blocks."""

import logging
import os
import time
from pathlib import Path

import pytest
from pictures import pictures

from edge.errors import ImageError
from edge.imaging.files import MAX_FILE_BYTES, find_images, read_image


def test_links_are_followed_once_and_what_is_left_out_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures(tmp_path / "elsewhere", 2)
    view = tmp_path / "view"
    view.mkdir()
    pictures(view / "slide", 2)
    (view / "linked").symlink_to(tmp_path / "elsewhere")
    (view / "slide" / "loop").symlink_to(view)
    (view / "slide" / "._0.png").write_bytes(b"\0\5\x16\7")
    (view / "__MACOSX").mkdir()
    (view / "__MACOSX" / "0.png").write_bytes(b"")
    (view / "gone.png").symlink_to(tmp_path / "nothing.png")
    os.mkfifo(view / "pipe.bmp")
    with caplog.at_level(logging.WARNING):
        found = find_images([view])
    assert [str(path.relative_to(view)) for path in found] == [
        "linked/0.png",
        "linked/1.png",
        "slide/0.png",
        "slide/1.png",
    ]
    (said,) = [record.getMessage() for record in caplog.records]
    for name in ("._0.png", "__MACOSX", "gone.png", "pipe.bmp", "loop"):
        assert name in said


def test_pipes_devices_and_huge_files_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.bmp")
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    with (tmp_path / "sparse.bmp").open("wb") as file:
        file.truncate(9 << 30)
    began_s = time.monotonic()
    for name, reason in (
        ("pipe.bmp", "not a regular file"),
        ("endless.png", "not a regular file"),
        ("sparse.bmp", f"over {MAX_FILE_BYTES}"),
    ):
        with pytest.raises(ImageError, match=reason):
            read_image(tmp_path / name)
    assert time.monotonic() - began_s < 1
