"""Make docs/recordings/*.cast and docs/figures/page-*.jpg anew, from the code as it is.

    python tests/recordings.py [--casts NAME…] [--pages] [--out docs]

Without --casts and --pages all are made: 2 minutes on 2 cores; needs Mosquitto, Chromium, Playwright and TensorFlow.
Each command runs in a terminal of its own of 100 columns (a pseudo terminal), in a copy of the project. What it writes is stored with its times as asciinema's format, version 2:
https://docs.asciinema.org/manual/asciicast/v2/
"""

import argparse
import fcntl
import json
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent / "support")]

# ruff: noqa: E402
from broker import Mosquitto
from other_laboratory import review, write_cells

from tests.edge.web.conftest import CHROMIUM_FLAGS, address_in, leukoscope, stop, wait_for

COLUMNS, ROWS = 100, 30
LONGEST_S = 180.0
MERGED_S = 0.03
"""What is written within this time becomes one event: files stay small, and no eye sees the difference."""
COPIED = ("edge", "export", "models", "samples", "train")
"""Of the project; so no recording shows where it lies here."""
CHARACTER_S = 0.04
"""Between two characters of the command, as if a person typed it."""

WRONG = '[camera]\nsorce = "simulator"\nview = "fild"\n'
TRAIN = (
    "train --data samples/cells --fold 1 --split image --recipe leukoscope --set model.size=64 "
    "--set model.crop=256 --weights none --epochs 2 --out run"
)


class Cast(NamedTuple):
    """One recording: the command's arguments, the terminal's height, and after how many seconds Ctrl-C is pressed."""

    command: str
    rows: int = ROWS
    stopped_after_s: float = 0.0


CASTS = {
    "check": Cast("check --config wrong.toml"),
    "doctor": Cast("doctor"),
    "classify": Cast("classify samples/cells"),
    "fields": Cast("classify samples/fields --field --html fields.html", 40),
    "train": Cast(TRAIN),
    "demo": Cast("demo --seconds 15"),
    "results": Cast("results sqlite:///demo-results.db"),
    "log": Cast("log --broker mqtt://127.0.0.1:{port} --to sqlite:///results.db", ROWS, 12.0),
}
"""In this order: the demo makes the database of `results`."""


def record(file: Path, cast: Cast, folder: Path, port: int) -> None:
    """Run one command in a pseudo terminal and write its recording.

    Raises:
        SystemExit: it did not end by itself in LONGEST_S.
    """
    command = cast.command.format(port=port)
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")},
        "TERM": "xterm-256color",
        "PYTHONPATH": str(folder),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", cast.rows, COLUMNS, 0, 0))
    began_s = time.monotonic()
    process = subprocess.Popen(
        [shutil.which("leukoscope", path=environment["PATH"]) or "leukoscope", *command.split()],
        cwd=folder,
        env=environment,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    events = typed(f"leukoscope {command}")
    read(controller, process, began_s - events[-1][0], cast.stopped_after_s, events)
    header = {
        "version": 2,
        "width": COLUMNS,
        "height": cast.rows,
        "timestamp": int(time.time()),
        "idle_time_limit": 2.0,
        "env": {"SHELL": "/bin/bash", "TERM": "xterm-256color"},
        "title": f"leukoscope {command}",
    }
    lines = [header, *([round(at_s, 3), "o", text] for at_s, text in events)]
    file.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


def typed(command: str) -> list[tuple[float, str]]:
    """The prompt and the command, character by character, and the end of the line."""
    text = ["$ ", *command, "\r\n"]
    return [(number * CHARACTER_S, character) for number, character in enumerate(text)]


def read(
    controller: int,
    process: "subprocess.Popen[bytes]",
    began_s: float,
    stopped_after_s: float,
    events: list[tuple[float, str]],
) -> None:
    """Take what the command writes, with its times, until it ends; `began_s` is time 0 of the recording."""
    written, first_s = b"", 0.0
    started_s = time.monotonic()
    while True:
        ready, _, _ = select.select([controller], [], [], MERGED_S)
        now_s = time.monotonic()
        if written and (not ready or now_s - first_s >= MERGED_S):
            text, written = whole(written)
            events.append((first_s - began_s, text))
        if stopped_after_s and now_s - started_s > stopped_after_s:
            process.send_signal(signal.SIGINT)
            stopped_after_s = 0.0
        if now_s - started_s > LONGEST_S:
            process.kill()
            raise SystemExit(f"{process.args}: not done after {LONGEST_S:.0f} s")
        if not ready:
            continue
        try:
            got = os.read(controller, 65536)
        except OSError:  # the terminal's last program has ended
            got = b""
        if not got:
            if written:
                events.append((first_s - began_s, written.decode(errors="replace")))
            process.wait()
            os.close(controller)
            return
        first_s = first_s if written else now_s
        written += got


def whole(written: bytes) -> tuple[str, bytes]:
    """As much of it as is whole characters, and the rest."""
    for cut in range(len(written), max(0, len(written) - 4), -1):
        try:
            return written[:cut].decode(), written[cut:]
        except UnicodeDecodeError:
            continue
    return written.decode(errors="replace"), b""


def make_casts(names: list[str], out: Path) -> None:
    """Record the named commands, in the order of CASTS."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "leukoscope"
        for name in COPIED:
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "wrong.toml").write_text(WRONG)
        broker = stack.enter_context(Mosquitto(folder)).start()
        (folder / "leukoscope.toml").write_text(
            f'[device]\nid = "box-1"\n[camera]\nsource = "files:samples/cells"\nloop = true\ntrigger = "interval"\n'
            f'interval_s = 0.3\n[mqtt]\nport = {broker.port}\n[outbox]\nfile = "outbox.db"\n'
            '[model]\ndirectory = "installed"\n[archive]\ndirectory = "archive"\n'
        )
        for name in (name for name in CASTS if name in names):
            boxes = [leukoscope("run", cwd=folder)] if name == "log" else []
            record(out / f"{name}.cast", CASTS[name], folder, broker.port)
            stop(*boxes)
            print(f"{out / name}.cast", flush=True)


def make_pages(out: Path) -> None:
    """Photograph the page: live, review and phone on the demo; the laboratory's own model on a box of other colours."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("chromium is not installed (apt install chromium)")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leukoscope-pages-")))
        started = stack.enter_context(sync_playwright())
        browser = started.chromium.launch(executable_path=program, args=CHROMIUM_FLAGS)
        stack.callback(browser.close)
        demo = leukoscope("demo", cwd=folder)
        stack.callback(stop, demo)
        photograph_demo(browser, address_in(demo), out)
        stop(demo)
        photograph_laboratory(browser, folder / "laboratory", out)


def photograph(page: Any, file: Path, **area: Any) -> None:
    """A JPEG of the window, or of `clip`."""
    page.screenshot(path=file, type="jpeg", quality=88, **area)
    print(file, flush=True)


def photograph_demo(browser: Any, address: str, out: Path) -> None:
    """The count while it grows, on a PC and on a phone that prefers dark pages, and a review."""
    window = {"width": 1200, "height": 800}
    with browser.new_context(base_url=address, locale="en-GB", viewport=window) as context:
        page = context.new_page()
        page.goto("/live")
        page.locator("#view").wait_for(state="visible", timeout=30_000)
        page.fill("#specimen", "H26/0815")
        page.fill("#target", "60")
        page.click("#begin")
        cells = "Number(document.getElementById('n-ALL').textContent) + Number(document.getElementById('n-HEM').textContent)"
        wait_for(lambda: page.evaluate(f"{cells} >= 30"), 60)
        page.locator("#boxes rect.ALL, #boxes rect.HEM").first.wait_for(state="attached")
        photograph(page, out / "page-live.jpg")
        page.goto("/review")
        page.fill("#reviewer", "Ada")
        page.click("#who [type=submit]")
        page.locator("#review-picture").wait_for(state="visible")
        page.click("[data-label=ALL]")
        page.locator("#verdict", has_text="you said").wait_for()
        page.wait_for_timeout(1000)
        photograph(page, out / "page-review.jpg")
    window = {"width": 360, "height": 740}
    with browser.new_context(
        base_url=address, locale="en-GB", viewport=window, color_scheme="dark", has_touch=True, is_mobile=True
    ) as context:
        page = context.new_page()
        page.goto("/live")
        page.locator("#state", has_text="H26/0815").wait_for()
        page.locator("#count").scroll_into_view_if_needed()
        page.evaluate("document.getElementById('count').scrollIntoView()")
        page.wait_for_timeout(500)
        photograph(page, out / "page-phone.jpg")


def photograph_laboratory(browser: Any, folder: Path, out: Path) -> None:
    """What an adaptation to 40 reviewed cells gains, before it is installed."""
    import sqlite3

    folder.mkdir()
    write_cells(folder / "cells")
    with ExitStack() as stack:
        broker = stack.enter_context(Mosquitto(folder)).start()
        to, config = f"sqlite:///{folder}/results.db", folder / "leukoscope.toml"
        config.write_text(
            f"[device]\nid = 'box-1'\n[camera]\nsource = 'files:{folder}/cells'\n[mqtt]\nport = {broker.port}\n"
            f"[model]\ndirectory = '{folder}/models'\n[outbox]\nfile = '{folder}/outbox.db'\n"
            f"[archive]\ndirectory = '{folder}/archive'\nkeep = 'all'\n"
            f"[web]\nlisten = '127.0.0.1:0'\ndatabase = '{to}'\n"
        )
        logger = leukoscope("log", "--broker", f"mqtt://127.0.0.1:{broker.port}", "--to", to, cwd=folder)
        stack.callback(stop, logger)
        wait_for((folder / "results.db").exists, 30)
        daemon = leukoscope("run", "--config", config, cwd=folder)
        stack.callback(stop, daemon)

        def stored() -> list[tuple[str, str]]:
            try:
                with sqlite3.connect(f"file:{folder}/results.db?mode=ro", uri=True) as database:
                    return database.execute("SELECT id, source FROM cells").fetchall()
            except sqlite3.OperationalError:  # not made yet
                return []

        wait_for(lambda: len(stored()) >= len(list((folder / "cells").rglob("*.png"))), 60)
        labels = {cell: Path(source).parent.name.upper() for cell, source in stored()}
        every_class = [
            [cell for cell, label in labels.items() if label == name][:20] for name in ("ALL", "HEM")
        ]
        review(to, "Ada", {cell: labels[cell] for cell in chain(*every_class)})
        web = leukoscope("web", "--config", config, cwd=folder)
        stack.callback(stop, web)
        window = {"width": 1100, "height": 1000}
        with browser.new_context(base_url=address_in(web), locale="en-GB", viewport=window) as context:
            page = context.new_page()
            page.goto("/review")
            page.click("#adapt")
            page.locator("#lab-state", has_text="Better on").wait_for(timeout=120_000)
            place = page.locator("section", has=page.locator("#adapt")).bounding_box()
            clip = {"x": 0, "y": place["y"] - 16, "width": 1100, "height": place["height"] + 32}
            photograph(page, out / "page-laboratory.jpg", clip=clip, full_page=True)


def main() -> None:
    """Make what the options name, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--casts", nargs="*", choices=CASTS, metavar="NAME", help=", ".join(CASTS))
    parser.add_argument("--pages", action="store_true", help="only the pictures of the page")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", metavar="DIR")
    options = parser.parse_args()
    casts, figures = options.out / "recordings", options.out / "figures"
    for folder in (casts, figures):
        folder.mkdir(parents=True, exist_ok=True)
    names = list(CASTS) if options.casts == [] or not (options.pages or options.casts) else options.casts
    make_casts(names or [], casts)
    if options.pages or options.casts is None:
        make_pages(figures)


if __name__ == "__main__":
    main()
