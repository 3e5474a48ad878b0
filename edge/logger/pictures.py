"""The archived picture of a record: a file below the archive's folder, whatever the record's own text says."""

from pathlib import Path

from edge.records import ImageReference

LARGEST_BYTES = 16 * 2**20


def archived(folder: Path, image: ImageReference | None, limit_bytes: int = LARGEST_BYTES) -> Path | None:
    """The file; None if there is none, it is larger than the limit, or its name leads out of the folder.

    Args:
        folder: of the box's archive.
        image: of the record.
        limit_bytes: the largest picture.
    """
    if image is None:
        return None
    try:
        file = (folder / image.name).resolve()
        inside = file.is_relative_to(folder.resolve()) and file.is_file()
        return file if inside and file.stat().st_size <= limit_bytes else None
    except (OSError, ValueError):
        return None
