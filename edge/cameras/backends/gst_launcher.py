"""Runs a GStreamer pipeline from standard input, so that no secret of it is on a command line.

`gst-launch-1.0` takes its pipeline only from the command line, which all users of the machine can read. This
program does the same with libgstreamer: it ends with 1 and one line for each error, or with 0 at the end of the stream.
"""

import ctypes
import sys

LIBRARY = "libgstreamer-1.0.so.0"
PLAYING, NULL = 4, 1
END_OF_STREAM, ERROR = 1, 2
"""GstMessageType."""

_FOREVER = ctypes.c_uint64(2**64 - 1)


class _GError(ctypes.Structure):
    _fields_ = (("domain", ctypes.c_uint32), ("code", ctypes.c_int), ("message", ctypes.c_char_p))


def main() -> int:
    """Run the pipeline until it ends."""
    text = sys.stdin.buffer.read()
    gst = _library()
    gst.gst_init(None, None)
    error = ctypes.POINTER(_GError)()
    pipeline = gst.gst_parse_launch(text, ctypes.byref(error))
    if error or not pipeline:
        _print(error)
        return 1
    gst.gst_element_set_state(pipeline, PLAYING)
    bus = gst.gst_element_get_bus(pipeline)
    message = gst.gst_bus_timed_pop_filtered(bus, _FOREVER, END_OF_STREAM | ERROR)
    error = ctypes.POINTER(_GError)()
    gst.gst_message_parse_error(message, ctypes.byref(error), None)  # sets nothing at the end of the stream
    failed = bool(error)
    if failed:
        _print(error)
    gst.gst_element_set_state(pipeline, NULL)
    return int(failed)


def _library() -> ctypes.CDLL:
    gst = ctypes.CDLL(LIBRARY)
    pointer = ctypes.c_void_p
    gst.gst_init.argtypes = (pointer, pointer)
    gst.gst_parse_launch.argtypes, gst.gst_parse_launch.restype = (ctypes.c_char_p, pointer), pointer
    gst.gst_element_set_state.argtypes = (pointer, ctypes.c_int)
    gst.gst_element_get_bus.argtypes, gst.gst_element_get_bus.restype = (pointer,), pointer
    gst.gst_bus_timed_pop_filtered.argtypes = (pointer, ctypes.c_uint64, ctypes.c_int)
    gst.gst_bus_timed_pop_filtered.restype = pointer
    gst.gst_message_parse_error.argtypes = (pointer, pointer, pointer)
    return gst


def _print(error: "ctypes._Pointer[_GError]") -> None:
    text = error.contents.message.decode("utf-8", "replace") if error else "the pipeline cannot be made"
    print(f"ERROR: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
