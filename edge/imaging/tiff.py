"""TIFF files: the size of the first picture, and whether all of its data is there and sound.

OpenCV returns what it could read of a damaged TIFF file and reports nothing, so each compression is checked in its
own way: Deflate by its own checksum, the others by Pillow, which passes on libtiff's errors.
"""

import io
import struct
import zlib
from dataclasses import dataclass

from edge.errors import ImageError

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_WIDTH, _HEIGHT, _COMPRESSION = 256, 257, 259
_BITS, _SAMPLES, _PLANAR = 258, 277, 284
_OFFSETS, _BYTE_COUNTS = (273, 324), (279, 325)
"""Of strips, of tiles."""
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_UNCOMPRESSED, _DEFLATE = 1, (8, 32946)
_LONGEST_LIST = 1 << 20
_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}


@dataclass(frozen=True)
class Layout:
    """The first picture of a TIFF file.

    Attributes:
        width, height: pixels.
        largest_piece_px: pixels of its largest tile, or of the picture.
        compression: TIFF's number.
        pieces: where each strip or tile begins, and its bytes.
        bytes_px: of one pixel; 0 if the file does not say.
    """

    width: int
    height: int
    largest_piece_px: int
    compression: int
    pieces: list[tuple[int, int]]
    bytes_px: float


def layout(data: bytes) -> Layout:
    """Read the first directory.

    Raises:
        ImageError: it is missing or unusable.
    """
    try:
        tags = _directory(data)
    except struct.error:
        raise ImageError(
            "truncated, its directory is missing; copy it again from where it came from"
        ) from None
    try:
        width, height = tags[_WIDTH][0], tags[_HEIGHT][0]
        offsets = tags.get(_OFFSETS[0]) or tags[_OFFSETS[1]]
        counts = tags.get(_BYTE_COUNTS[0]) or tags[_BYTE_COUNTS[1]]
    except (KeyError, IndexError):
        raise ImageError("not a readable image; its directory has no size or no data") from None
    tile = tags.get(_TILE_WIDTH, [width])[0] * tags.get(_TILE_HEIGHT, [height])[0]
    bits = tags.get(_BITS, [1])
    samples = tags.get(_SAMPLES, [1])[0]
    bytes_px = (sum(bits) if len(bits) == samples else bits[0] * samples) / 8
    return Layout(
        width,
        height,
        max(tile, width * height),
        tags.get(_COMPRESSION, [_UNCOMPRESSED])[0],
        list(zip(offsets, counts, strict=False)),
        bytes_px,
    )


def check(data: bytes) -> None:
    """Refuse a file whose picture is not whole.

    Args:
        data: of a file whose size in pixels was found acceptable.

    Raises:
        ImageError: data lies beyond the end of the file, or a piece of it is damaged.
    """
    found = layout(data)
    for start, count in found.pieces:
        if start + count > len(data):
            raise ImageError(
                f"truncated, it ends after {len(data)} bytes; copy it again from where it came from"
            )
    if found.compression == _UNCOMPRESSED:
        return
    if found.compression in _DEFLATE:
        for start, count in found.pieces:
            _check_deflate(data[start : start + count], found)
        return
    from PIL import Image, UnidentifiedImageError  # late: few files need it, and the daemon starts sooner

    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
    except (UnidentifiedImageError, NotImplementedError, KeyError) as error:
        raise ImageError(
            f"TIFF compression {found.compression} cannot be checked here; save it as PNG, or as TIFF without "
            "compression"
        ) from error
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise ImageError(f"damaged: {error}; copy it again from where it came from") from error


def _check_deflate(piece: bytes, found: Layout) -> None:
    """The checksum at the end of each piece is of all that it holds."""
    limit = int(found.largest_piece_px * max(found.bytes_px, 1.0)) + 65536
    decoder = zlib.decompressobj()
    try:
        decoder.decompress(piece, limit)
        whole = decoder.eof
    except zlib.error as error:
        raise ImageError(f"damaged: {error}; copy it again from where it came from") from error
    if not whole:
        raise ImageError("damaged: a strip does not end; copy it again from where it came from")


def _directory(data: bytes) -> dict[int, list[int]]:
    """The numbers of the first directory by tag; other types of values are left out."""
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    long, entry, head = ("Q", 20, 8) if big else ("I", 12, 2)
    (position,) = struct.unpack_from(order + long, data, 8 if big else 4)
    (entries,) = struct.unpack_from(order + ("Q" if big else "H"), data, position)
    position += head
    tags: dict[int, list[int]] = {}
    for _ in range(min(entries, 4096)):
        tag, kind = struct.unpack_from(order + "HH", data, position)
        (count,) = struct.unpack_from(order + long, data, position + 4)
        code = _TYPES.get(kind)
        if code is not None and count <= _LONGEST_LIST:
            value = position + 4 + struct.calcsize(order + long)
            if struct.calcsize(code) * count > struct.calcsize(long):
                (value,) = struct.unpack_from(order + long, data, value)
            tags[tag] = list(struct.unpack_from(f"{order}{count}{code}", data, value))
        position += entry
    return tags
