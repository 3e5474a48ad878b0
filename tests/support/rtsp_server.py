"""An RTSP server on loopback, by GStreamer's own library; run with the system's Python, which has its bindings.

    /usr/bin/python3 rtsp_server.py WIDTH HEIGHT FPS

Prints its port. It shows noise, so that no two frames are the same.
"""

import ctypes
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

ctypes.CDLL(None).prctl(1, 15)  # ends with the test that started it
Gst.init(None)
width, height, fps = sys.argv[1:4]
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service("0")
factory = GstRtspServer.RTSPMediaFactory()
factory.set_shared(True)
factory.set_launch(
    f"( videotestsrc is-live=true pattern=snow ! video/x-raw,format=I420,width={width},height={height},framerate={fps}/1 "
    "! jpegenc ! rtpjpegpay name=pay0 )"
)
server.get_mount_points().add_factory("/cells", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
