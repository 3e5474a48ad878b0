"""What the capture side costs at 30 frames/s of 1920 x 1080, beside a loop that only decodes.

    python tests/capture_figures.py [--seconds 20]

A server in a process of its own streams Motion JPEG over loopback. First the decoding of its pictures alone is
timed; then the supervised capture reads it, in its two processes, and every frame is taken. Prints the
processor time of both, per frame and as a share of one core at 30 frames/s, and how old frames are when they
are taken; each frame carries its own time as a pattern.
"""

import argparse
import json
import os
import sys
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).parent / "support")]

# ruff: noqa: E402
from streams import MjpegServer, milliseconds, stamp_of

from edge.cameras.backends.mjpeg import MjpegCamera
from edge.cameras.backends.simulator import SimulatorSettings
from edge.cameras.capture import Capture
from edge.cameras.settings import CameraSettings
from edge.cameras.sources import make_camera

WIDTH, HEIGHT, FPS = 1920, 1080, 30
CROP_PX = 480


def serve(pipe: Connection) -> None:
    with MjpegServer(WIDTH, HEIGHT, FPS) as server:
        pipe.send(server.address)
        pipe.recv()


def decode_only(address: str, seconds: float, pipe: Connection) -> None:
    """The yardstick: processor time of decoding alone, on the same stream."""
    camera = MjpegCamera(CameraSettings(source=address))
    camera.open()
    frames, used_s, end = 0, 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        camera.grab()
        before_s = time.process_time()
        camera._decoded()
        used_s += time.process_time() - before_s
        frames += 1
    camera.close()
    pipe.send((frames, used_s))


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def captured(address: str, seconds: float) -> dict[str, float]:
    cameras = []

    def make():  # type: ignore[no-untyped-def]
        cameras[:] = [make_camera(CameraSettings(source=address), SimulatorSettings(), CROP_PX)]
        return cameras[0]

    capture = Capture(make, 5.0)
    capture.start()
    assert capture.take(30.0) is not None, capture.state
    child = cameras[0]._process.pid
    daemon_s, child_s = time.process_time(), processor_s(child)
    began_read, ages_ms, late_ms, end = capture.counts.read, [], [], time.monotonic() + seconds
    while time.monotonic() < end:
        frame = capture.take(1.0)
        if frame is not None:
            ages_ms.append((time.monotonic_ns() - frame.monotonic_ns) / 1e6)
            late_ms.append(milliseconds() - stamp_of(frame.pixels))
    daemon_s, child_s = time.process_time() - daemon_s, processor_s(child) - child_s
    frames = capture.counts.read - began_read
    capture.close()
    return {
        "frames": frames,
        "processor_ms_a_frame": (daemon_s + child_s) / frames * 1e3,
        "of_which_in_the_daemon": daemon_s / frames * 1e3,
        "handed_over_after_ms_p50": float(np.percentile(ages_ms, 50)),
        "handed_over_after_ms_p99": float(np.percentile(ages_ms, 99)),
        "drawn_before_ms_p50": float(np.percentile(late_ms, 50)),
        "drawn_before_ms_max": float(max(late_ms)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    seconds = parser.parse_args().seconds
    spawn = get_context("spawn")
    ours, theirs = spawn.Pipe()
    server = spawn.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    address = ours.recv()
    mine, other = spawn.Pipe()
    yardstick = spawn.Process(target=decode_only, args=(address, seconds, other), daemon=True)
    yardstick.start()
    frames, used_s = mine.recv()
    yardstick.join()
    decoding_ms = used_s / frames * 1e3
    figures = captured(address, seconds)
    ours.send("stop")
    server.join(5)
    beyond_ms = figures["processor_ms_a_frame"] - decoding_ms
    report = {
        "decoding_frames": frames,
        "decoding_ms_a_frame": decoding_ms,
        **figures,
        "beyond_decoding_ms_a_frame": beyond_ms,
        "beyond_decoding_share_of_a_core_at_30_fps": beyond_ms * FPS / 1e3,
    }
    print(json.dumps({name: round(value, 3) for name, value in report.items()}, indent=1))


if __name__ == "__main__":
    main()
