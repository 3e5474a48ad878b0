"""What makes a change to a folder outlast a power cut."""

import os
from pathlib import Path


def flush_folder(folder: Path) -> None:
    """Bring a folder's own entries (files made, renamed, removed) to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
