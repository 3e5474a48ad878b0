"""Kill daemon, broker and logger at random instants, and see whether each accepted result is stored once.

    python tests/kills.py --kills 200 --seed 1        (a part of make soak)

As soak.py, at 10 frames a second, with one more subscriber: mosquitto_sub, which has no code in common with
Leukoscope and is never killed, writes down what the broker delivers. Exit status 1 if a result is missing or doubled
in the database or missing at the witness, or if the two differ.
"""

import argparse
import json
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE / "support")]

from soak import DEVICE, DRAIN_TIMEOUT_S, Soak, run_folder  # noqa: E402

LONGEST_PAUSE_S = 3.0
"""Between two kills: long enough for a daemon to begin its work, short enough that some come before that."""
BROKER_AWAY_S = 2.0
TOPIC, PROBE = f"leukoscope/{DEVICE}/cells", f"{DEVICE}/witness"
COMPARED = ("sequence", "captured_at", "verdict", "specimen", "software")


class Kills(Soak):
    """The whole system, of which one part after the other is killed."""

    FPS = 10
    BROKER = "autosave_interval 60"  # as in systemd/mosquitto-leukoscope.conf: a kill costs it up to a minute
    in_order = False  # what the broker's crash has lost is sent again later

    def start_witness(self) -> None:
        """Start it, and wait until the broker delivers to it."""
        self.seen = self.folder / "seen"
        command = ["stdbuf", "-oL", "mosquitto_sub", "-p", str(self.broker.port), "-V", "5", "-q", "1", "-c"]
        command += ["-i", "witness", "-x", "604800", "-t", TOPIC, "-t", PROBE, "-F", "%t %p"]
        with self.seen.open("wb") as out:
            self.witness = subprocess.Popen(command, stdout=out, stderr=self.log)

        def answers() -> bool:
            probe = ["mosquitto_pub", "-p", str(self.broker.port), "-t", PROBE, "-m", "is it there?"]
            subprocess.run(probe, check=True)
            return PROBE in self.seen.read_text()

        self.wait_until(answers, "the witness did not come up")

    def wait_until(self, condition: Callable[[], bool], otherwise: str) -> None:
        end = time.monotonic() + DRAIN_TIMEOUT_S
        while not condition():
            assert time.monotonic() < end, otherwise
            time.sleep(0.2)

    def broker_killed(self) -> None:
        self.broker.kill()
        self.pause(0, BROKER_AWAY_S)
        self.broker.start()

    def kinds(self) -> list[str]:
        return ["daemon_killed", "logger_killed", "broker_killed"]

    def kill(self, kills: int) -> None:
        """So many kills, each at a random instant; daemon and logger are started again at once or soon."""
        self.wait_for_results(20)
        kinds = self.kinds()
        for kind in self.rng.sample(kinds, kills, counts=[kills // len(kinds) + 1] * len(kinds)):
            getattr(self, kind)()
            self.faults[kind] += 1
            self.pause(0, LONGEST_PAUSE_S)
            for name in ("daemon", "logger", "witness"):
                assert getattr(self, name).poll() is None, f"the {name} ended by itself after {kind}"

    def finish(self) -> int:
        """Let all that was accepted arrive, once both subscribers are back; gives the last sequence."""
        self.wait_for_results(20)
        newest = max(self.promised())
        self.wait_until(lambda: newest in dict(self.rows()), "the logger did not come back")
        self.wait_until(lambda: newest in self.witnessed(), "the witness did not come back")
        last = super().finish()
        self.wait_until(lambda: last in self.witnessed(), "the last results did not reach the witness")
        self.witness.terminate()
        self.witness.wait(20)
        return last

    def deliveries(self) -> list[dict[str, Any]]:
        """What the witness saw, in order."""
        lines = self.seen.read_text(encoding="utf-8").splitlines()
        return [json.loads(line.removeprefix(TOPIC)) for line in lines if line.startswith(f"{TOPIC} {{")]

    def witnessed(self) -> Counter[int]:
        """How often the witness saw each sequence."""
        return Counter(int(record["sequence"]) for record in self.deliveries())

    def verdict(self, last: int) -> list[str]:
        """What is wrong; empty if each accepted result is stored once and the witness saw the same."""
        wrong = super().verdict(last)
        seen: dict[str, dict[str, Any]] = {}
        for record in self.deliveries():
            if seen.setdefault(record["id"], record) != record:
                wrong.append(f"sequence {record['sequence']} came with two contents")
        if unseen := sorted(set(range(1, last + 1)) - {record["sequence"] for record in seen.values()}):
            wrong.append(f"{len(unseen)} of {last} did not reach the witness: {unseen[:10]}")
        with sqlite3.connect(self.database) as database:
            rows = database.execute(f"SELECT id, {', '.join(COMPARED)} FROM cells").fetchall()
        other = [
            identity
            for identity, *values in rows
            if identity in seen and values != [seen[identity][name] for name in COMPARED]
        ]
        if other:
            wrong.append(f"{len(other)} rows are not what the witness saw: {other[:3]}")
        return wrong

    def close(self) -> None:
        """End all that was started."""
        self.witness.kill()
        self.witness.wait()
        super().close()


def kill(folder: Path, seed: int, kills: int) -> tuple[Kills, list[str]]:
    """Run it; gives what was done, and what is wrong."""
    run = Kills(folder, seed)
    try:
        began = time.monotonic()
        run.kill(kills)
        last = run.last = run.finish()
        wrong = run.verdict(last)
        seen = run.witnessed()
        print(
            f"seed {seed}, {time.monotonic() - began:.0f} s: {sum(run.faults.values())} kills {dict(run.faults)}"
        )
        print(
            f"{last} results accepted, {len(run.promised())} promises written down, {len(run.rows())} rows; "
            f"the witness saw {len(seen)} results, {sum(count > 1 for count in seen.values())} of them more than once"
        )
        print("\n".join(wrong) if wrong else "every accepted result is stored once, and the witness saw it")
        return run, wrong
    finally:
        run.close()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave logs and databases there")
    options = parser.parse_args()
    with run_folder(options.keep, "leukoscope-kills-") as folder:
        _, wrong = kill(folder, options.seed, options.kills)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
