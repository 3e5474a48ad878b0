"""Image data as pixels: BMP, PNG, JPEG, WebP and TIFF; what is damaged or too large is refused, with the reason.

A decoder that guesses what is missing would give a picture that a classifier takes for a cell. So each format is
checked by what it has: PNG by its checksums, JPEG by every warning of libjpeg-turbo, TIFF by `edge.imaging.tiff`,
and those without a checksum for data of one value (`edge.imaging.damage`).
"""

import re
import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import simplejpeg

from edge.errors import ImageError
from edge.imaging import damage, tiff
from edge.imaging.frame import Pixels

MAX_PIXELS = 8192 * 8192
"""Limit of an image: 200 MB of pixels, as much as a small box can spare; no camera's frame is larger."""

FORMATS = "BMP, PNG, JPEG, WebP or TIFF"
COPY_AGAIN = "copy it again from where it came from"

_PNG = b"\x89PNG\r\n\x1a\n"
_EXIF_WITHIN = 65536 + 64
"""Bytes: Exif data is the first segment of a JPEG file, or the one after the JFIF header."""

FLAT_BYTES, FLAT_PART = 64, 1 / 2048
"""Compressed data of WebP in which one value is repeated for longer, and longer than that part of the number of
pixels, is a hole. Flat pictures have runs of zeros: real cells 24 bytes."""

ZEROS = re.compile(rb"\x00{32,}")
"""No compressed data of a JPEG file has so many zeros, unless its Huffman tables make zeros of flat blocks."""

_FLAT = re.compile(rb"\x00{%d,}|\xff{%d,}" % (FLAT_BYTES, FLAT_BYTES))


def decode(data: bytes, *, cut_allowed: bool = False) -> Pixels:
    """Decode an image: 16-bit to 8, grey to RGB, transparency dropped.

    Args:
        data: a whole image file.
        cut_allowed: accept a picture of a format without checksum whose content ends at a straight edge. Data sets
            hold a few cells that were cut like that when they were made; as a result nobody could rely on them.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: it is truncated, damaged, too large, or not an image of these formats.
    """
    if not data:
        raise ImageError("the file is empty")
    kind = kind_of(data)
    if kind is None:
        raise ImageError(f"not a readable image; give {FORMATS}")
    try:
        width, height = _SIZES[kind](data)
        if width * height > MAX_PIXELS:
            raise ImageError(f"{width} x {height} pixels, over {MAX_PIXELS}; make the picture smaller")
        _CHECKS[kind](data)
    except struct.error:  # the header is incomplete
        raise _truncated(data) from None
    pixels = _decode_jpeg(data) if kind == "JPEG" else _decode_by_opencv(data)
    if kind in ("BMP", "TIFF") and not cut_allowed:
        # The rows of a BMP file begin at the bottom of the picture.
        fault = damage.hole(pixels[::-1].copy() if kind == "BMP" else pixels)
        if fault:
            raise ImageError(f"damaged: {fault}; {COPY_AGAIN}")
    return pixels


def kind_of(data: bytes) -> str | None:
    """The format, by the first bytes; None if this version does not read it."""
    if data[:2] == b"BM":
        return "BMP"
    if data[:8] == _PNG:
        return "PNG"
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    return "TIFF" if data[:4] in tiff.MAGIC else None


def _truncated(data: bytes) -> ImageError:
    return ImageError(f"truncated, it ends after {len(data)} bytes; {COPY_AGAIN}")


def _decode_by_opencv(data: bytes) -> Pixels:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise ImageError(f"not a readable image ({error.err})") from error
    if pixels is None:
        raise ImageError(f"not a readable image; give {FORMATS}")
    return pixels  # type: ignore[return-value]


def _decode_jpeg(data: bytes) -> Pixels:
    """With libjpeg-turbo's warnings as errors; the pixels are exactly those of OpenCV."""
    try:
        colours = simplejpeg.decode_jpeg_header(data)[2]
        if colours in ("CMYK", "YCCK"):
            simplejpeg.decode_jpeg(data, "CMYK")
            return _decode_by_opencv(data)
        pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB")
    except ValueError as error:
        raise ImageError(f"damaged: {error}; {COPY_AGAIN}") from error
    # OpenCV rotates a picture by its Exif data.
    return _decode_by_opencv(data) if b"Exif\0\0" in data[:_EXIF_WITHIN] else pixels


def _bmp_size(data: bytes) -> tuple[int, int]:
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    return abs(width), abs(height)


def _check_bmp(data: bytes) -> None:
    if len(data) < _bmp_end(data):
        raise _truncated(data)


def _bmp_end(data: bytes) -> int:
    """The byte after the last pixel; of the compressed kinds, as far as the header gives a size."""
    offset, header = struct.unpack_from("<II", data, 10)
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = size = 0
    else:
        width, height, _, bits, compression, size = struct.unpack_from("<iiHHII", data, 18)
    if compression in (1, 2):  # run lengths
        return int(offset + size)
    row = (abs(width) * bits + 31) // 32 * 4
    # Some writers leave the padding of the last row out.
    return int(offset + row * (abs(height) - 1) + (abs(width) * bits + 7) // 8)


def _png_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _check_png(data: bytes) -> None:
    """Every chunk has a checksum, and the last one is named IEND."""
    position = 8
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        (checksum,) = struct.unpack_from(">I", data, end)
        if zlib.crc32(memoryview(data)[position + 4 : end]) != checksum:
            raise ImageError(f"damaged: the checksum of a part is wrong; {COPY_AGAIN}")
        if kind == b"IEND":
            return
        position = end + 4
    raise _truncated(data)


def _jpeg_size(data: bytes) -> tuple[int, int]:
    try:
        height, width = simplejpeg.decode_jpeg_header(data)[:2]
    except ValueError as error:
        if b"\xff\xda" not in data:
            raise _truncated(data) from error
        raise ImageError(f"damaged: {error}; {COPY_AGAIN}") from error
    return width, height


def _check_jpeg(data: bytes) -> None:
    scan, zeros_are_flat = _jpeg_scan(data)
    if data.find(b"\xff\xd9", scan) < 0:
        raise _truncated(data)
    if (
        not zeros_are_flat
        and (zeros := ZEROS.search(data, scan))
        and data.find(b"\xff\xd9", zeros.end()) >= 0
    ):
        raise ImageError(f"damaged: {len(zeros[0])} zeros within the picture; {COPY_AGAIN}")


def _jpeg_scan(data: bytes) -> tuple[int, bool]:
    """Where the first scan starts (an end marker before it belongs to a thumbnail), and whether zeros in it may
    stand for flat blocks: in progressive files, and if the code for "no more coefficients" is all zeros.
    """
    position, progressive = 2, False
    ends: list[bool] = []
    while True:
        marker, length = struct.unpack_from(">HH", data, position)
        if marker == 0xFFFF:  # filling before a marker
            position += 1
            continue
        if marker == 0xFFC4:
            ends += _end_with_zeros(data[position + 4 : position + 2 + length])
        elif 0xFFC2 <= marker <= 0xFFCF and marker not in (0xFFC8, 0xFFCC):  # not the baseline process
            progressive = True
        position = position + 2 + int(length)
        if marker == 0xFFDA or marker < 0xFF00:
            return position, progressive or (bool(ends) and all(ends))


def _end_with_zeros(tables: bytes) -> list[bool]:
    """Of each Huffman table for coefficients: is "end of block" its first symbol, and so its code all zeros?"""
    found = []
    while len(tables) > 17:
        if tables[0] >> 4 == 1:
            found.append(tables[17] == 0)
        tables = tables[17 + sum(tables[1:17]) :]
    return found


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return width, height
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _check_webp(data: bytes) -> None:
    end = 8 + int.from_bytes(data[4:8], "little")
    if len(data) < end:
        raise _truncated(data)
    width, height = _webp_size(data)
    longest = max((len(run) for run in _FLAT.findall(data, 30, end)), default=0)
    if longest > max(FLAT_BYTES, FLAT_PART * width * height):
        raise ImageError(f"damaged: {longest} bytes of one value within the picture; {COPY_AGAIN}")


def _tiff_size(data: bytes) -> tuple[int, int]:
    found = tiff.layout(data)
    if found.largest_piece_px > MAX_PIXELS:
        return found.largest_piece_px, 1
    return found.width, found.height


_SIZES: dict[str, Callable[[bytes], tuple[int, int]]] = {
    "BMP": _bmp_size,
    "PNG": _png_size,
    "JPEG": _jpeg_size,
    "WebP": _webp_size,
    "TIFF": _tiff_size,
}
_CHECKS: dict[str, Callable[[bytes], None]] = {
    "BMP": _check_bmp,
    "PNG": _check_png,
    "JPEG": _check_jpeg,
    "WebP": _check_webp,
    "TIFF": tiff.check,
}
