"""What it costs that the box sends again what the broker has acknowledged of late: python tests/resend_figures.py

Records are published and acknowledged at the rate of a busy box; then the connection is cut, and it is measured how
long and with how many bytes the box sends them again, and how late a new result is meanwhile. Before that, the drain
of a backlog with and without keeping what was acknowledged.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "support")]

from broker import Mosquitto, eventually, make_record  # noqa: E402

from edge.mqtt.publisher import Publisher  # noqa: E402
from edge.mqtt.settings import MqttSettings  # noqa: E402
from edge.outbox.queue import Outbox  # noqa: E402
from edge.records import encode  # noqa: E402

TIMEOUT_S = 300.0


def drain(folder: Path, port: int, records: int, resend_s: float) -> float:
    """Seconds until the broker has acknowledged a backlog."""
    outbox = Outbox(folder / f"drain-{resend_s}-{time.monotonic_ns()}.db", 10_000, resend_s)
    for number in range(records):
        outbox.accept(make_record())
        if number % 1000 == 999:
            outbox.flush()
    outbox.flush()
    publisher = Publisher(MqttSettings(port=port), "box", outbox)
    began = time.monotonic()
    publisher.start()
    assert publisher.wait_drained(TIMEOUT_S)
    took_s = time.monotonic() - began
    publisher.stop(5)
    outbox.close()
    return took_s


def resend(folder: Path, port: int, records: int) -> None:
    """Cut the connection after so many acknowledged records."""
    outbox = Outbox(folder / f"resend-{records}.db", 10_000)
    publisher = Publisher(MqttSettings(port=port), "box", outbox)
    publisher.start()
    for _ in range(records):
        outbox.accept(make_record())
    assert publisher.wait_drained(TIMEOUT_S)
    outbox.flush()
    before = publisher.connections
    began = time.monotonic()
    publisher._connection.renew("a measurement")
    eventually(lambda: publisher.connections > before)
    connected_s = time.monotonic() - began
    began = time.monotonic()
    eventually(lambda: outbox.depth() > 0)
    given = time.monotonic()
    outbox.accept(make_record()).result(60)
    durable_ms = (time.monotonic() - given) * 1e3
    assert publisher.wait_drained(TIMEOUT_S)
    took_s = time.monotonic() - began
    size_kb = records * len(encode(make_record())) / 1024
    print(
        f"sent again: {records} records, {size_kb:.0f} kB, in {took_s:.2f} s ({records / took_s:.0f} records/s), "
        f"{connected_s:.2f} s after the cut; a new result was on the disk after {durable_ms:.0f} ms"
    )
    publisher.stop(5)
    outbox.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backlog", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=10.0, help="records per second of the busy box")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="leukoscope-resend-") as name:
        folder = Path(name)
        with Mosquitto(folder, persistent=False) as broker:
            broker.start()
            for turn in range(3):  # in turns, since other work shares the machine
                without, kept = (drain(folder, broker.port, options.backlog, s) for s in (0.0, 120.0))
                print(
                    f"drain {turn + 1}: {options.backlog / without:.0f} records/s without keeping, "
                    f"{options.backlog / kept:.0f} with, ratio {kept / without:.2f}"
                )
            for seconds in (12, 120):
                resend(folder, broker.port, int(options.rate * seconds))


if __name__ == "__main__":
    main()
