"""The file behind a model: a TFLite flatbuffer with a ZIP archive behind it, read in bounded memory.

TensorFlow Lite's own convention for associated files, so that `unzip -l` and TFLite tools both read it.
"""

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from edge.errors import InputError

# A file that comes from elsewhere must not be able to fill the box's memory.
MAX_FILE_BYTES = 64 * 2**20
MAX_MEMBERS = 16
MAX_MEMBER_BYTES = 2**20
MAX_DIRECTORY_BYTES = 64 * 2**10

MEMBERS = ("manifest.json", "labels.txt", "card.md")
OPTIONAL = ("adaptation.json", "signature")
"""Of a model that was adapted to a laboratory, or signed."""

_IDENTIFIER = b"TFL3"  # at offset 4 of every TFLite flatbuffer
_END_RECORD = struct.Struct("<4s4H2LH")  # the archive's last 22 bytes, where it has no comment
_ARCHIVE_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    RuntimeError,  # encrypted; its subclass NotImplementedError: a ZIP version that Python does not know
    ValueError,  # an offset before the file's start
    struct.error,  # a field cut short
)
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # fixed, so that the same model gives the same bytes


def read_bounded(path: Path) -> bytes:
    """A file's bytes, if they are few enough to be one of ours.

    Raises:
        InputError: it is missing, a folder, unreadable or larger than `MAX_FILE_BYTES`.
    """
    if path.is_dir():
        raise InputError(f"{path}: this is a folder; give a model file")
    try:
        if not path.is_file():
            raise InputError(f"{path}: no such model file")
        with path.open("rb") as file:
            file_bytes = os.fstat(file.fileno()).st_size
            # No more than there is: the buffer is taken before it is filled, and a box has little memory.
            data = file.read(file_bytes) if file_bytes <= MAX_FILE_BYTES else b""
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    if file_bytes > MAX_FILE_BYTES:
        raise InputError(f"{path}: larger than {MAX_FILE_BYTES // 2**20} MiB; not one of our model files")
    return data


def split(data: bytes) -> tuple[bytes, dict[str, bytes]]:
    """The flatbuffer and the members of the archive behind it: MEMBERS, and of OPTIONAL those that are there.

    Raises:
        InputError: it is no TFLite file, has no archive, or the archive is damaged or too large.
    """
    if data[4:8] != _IDENTIFIER:
        raise InputError("not a TFLite model (no TFL3 at offset 4)")
    _check_archive_end(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            names = [info.filename for info in infos]
            for name in MEMBERS:
                if names.count(name) != 1:
                    raise InputError(f"the archive has {names.count(name)} members named {name}, not one")
            if twice := [name for name in OPTIONAL if names.count(name) > 1]:
                raise InputError(f"the archive has several members named {twice[0]}")
            wanted = (*MEMBERS, *(name for name in OPTIONAL if name in names))
            members = {name: _read_member(archive, archive.getinfo(name)) for name in wanted}
            return data[: min(info.header_offset for info in infos)], members
    except _ARCHIVE_FAULTS as error:
        raise InputError(f"the archive behind the flatbuffer is damaged: {error}") from error


def _check_archive_end(data: bytes) -> None:
    """Look at the archive's end record before zipfile trusts its sizes."""
    end = data[-_END_RECORD.size :]
    if len(end) < _END_RECORD.size or end[:4] != b"PK\x05\x06":
        if b"PK\x03\x04" in data and b"manifest.json" in data:
            raise InputError("cut short, or something was added: the archive has no end; copy it again")
        raise InputError(
            "a plain TFLite file without manifest (or one cut short); make one with leukoscope export"
        )
    _, _, _, _, members, directory_bytes, _, _ = _END_RECORD.unpack(end)
    if members > MAX_MEMBERS:
        raise InputError(f"the archive says it has {members} members; {MAX_MEMBERS} is the most")
    # A ZIP64 end record would take the place of the sizes that were just checked.
    if directory_bytes > MAX_DIRECTORY_BYTES or data[-_END_RECORD.size - 20 :][:4] == b"PK\x06\x07":
        raise InputError(f"the archive's directory is larger than {MAX_DIRECTORY_BYTES // 2**10} KiB")


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    # Only these two decompressors of Python stop at the number of bytes that was asked for.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"{info.filename} is neither stored nor deflated")
    with archive.open(info) as member:
        content = member.read(MAX_MEMBER_BYTES + 1)
    if len(content) > MAX_MEMBER_BYTES:
        raise InputError(f"{info.filename} is larger than {MAX_MEMBER_BYTES // 2**20} MiB")
    return content


def append(flatbuffer: bytes, members: Mapping[str, bytes]) -> bytes:
    """The flatbuffer with an archive of these members behind it; the same content gives the same bytes.

    Raises:
        InputError: this is no flatbuffer alone, or the whole would be refused by `split`.
    """
    if flatbuffer[4:8] != _IDENTIFIER:
        raise InputError("not a TFLite flatbuffer")
    if zipfile.is_zipfile(io.BytesIO(flatbuffer)):
        raise InputError("the flatbuffer already has an archive behind it; give it without")
    file = io.BytesIO(flatbuffer)
    # Appending makes the archive's offsets count from the file's start, as unzip expects. Members are
    # stored as they are: compressed bytes differ between versions of zlib.
    with zipfile.ZipFile(file, "a") as archive:
        for name, content in members.items():
            if len(content) > MAX_MEMBER_BYTES:
                raise InputError(f"{name} is larger than {MAX_MEMBER_BYTES // 2**20} MiB")
            info = zipfile.ZipInfo(name, _ZIP_DATE)
            info.external_attr = 0o644 << 16
            info.create_system = 3  # Unix, wherever it is written
            archive.writestr(info, content)
    data = file.getvalue()
    if len(data) > MAX_FILE_BYTES:
        raise InputError(f"the model file would be larger than {MAX_FILE_BYTES // 2**20} MiB")
    return data
