"""What a technician sees while something is broken, and that the page comes back by itself, in a real browser."""

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api")
from broker import Mosquitto
from command import SAMPLES
from playwright.sync_api import Browser, Page, expect

from tests.edge.web.conftest import address_in, leukoscope, stop, wait_for

pytestmark = pytest.mark.timeout(300)
WAIT_MS = 60_000
SMALL_DISK = "size=400k"


class Box:
    """Broker, daemon, logger and page of one box, each of which a test may break."""

    def __init__(self, folder: Path, broker: Mosquitto):
        self.folder, self.broker, self.database = folder, broker, folder / "results.db"
        self.config = folder / "leukoscope.toml"
        self.archive = folder / "archive"
        self.archive.mkdir()
        self.small = (
            os.getuid() == 0
            and subprocess.run(
                ["mount", "-t", "tmpfs", "-o", SMALL_DISK, "none", self.archive], capture_output=True
            ).returncode
            == 0
        )
        self.config.write_text(
            f"[device]\nid = 'box'\n[camera]\nsource = 'files:{SAMPLES}'\nloop = true\ntrigger = 'interval'\n"
            f"interval_s = 0.3\n[mqtt]\nport = {broker.port}\n[outbox]\nfile = '{folder}/outbox.db'\n"
            f"[archive]\ndirectory = '{self.archive}'\nkeep = 'all'\n[health]\ninterval_s = 1\n"
            f"[web]\nlisten = '127.0.0.1:0'\ndatabase = 'sqlite:///{self.database}'\n"
        )
        to = f"sqlite:///{self.database}"
        self.logger = leukoscope("log", "--broker", f"mqtt://127.0.0.1:{broker.port}", "--to", to, cwd=folder)
        self.daemon = self.started()
        self.web = leukoscope("web", "--config", self.config, cwd=folder)

    def started(self) -> "subprocess.Popen[str]":
        return leukoscope("run", "--config", self.config, cwd=self.folder)

    def rows(self) -> int:
        try:
            with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as database:
                return int(database.execute("SELECT count(*) FROM cells").fetchone()[0])
        except sqlite3.OperationalError:  # not made yet
            return 0

    def close(self) -> None:
        stop(self.web, self.daemon, self.logger)
        if self.small:
            subprocess.run(["umount", "-l", self.archive], check=True)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp("box")
    with Mosquitto(folder) as broker:
        broker.start()
        running = Box(folder, broker)
        try:
            yield running
        finally:
            running.close()


@pytest.fixture(scope="module")
def page(browser: Browser, box: Box) -> Iterator[Page]:
    context: Any = browser.new_context(base_url=address_in(box.web), locale="en-GB")
    opened = context.new_page()
    wait_for(lambda: box.rows() >= 3, 60)
    yield opened
    context.close()


def test_a_full_archive_is_told_and_results_go_on(page: Page, box: Box) -> None:
    if not box.small:
        pytest.skip("mounting a small file system needs root")
    page.goto("/health")
    expect(page.locator("#health")).to_contain_text("Pictures cannot be kept", timeout=WAIT_MS)
    expect(page.locator("#health")).to_contain_text("Delete files, or lower [archive] max_mb.")
    before = box.rows()
    wait_for(lambda: box.rows() > before, 30)  # a picture less is no result less
    subprocess.run(["mount", "-o", "remount,size=200m", box.archive], check=True)
    expect(page.locator("#health")).not_to_contain_text("Pictures cannot be kept", timeout=WAIT_MS)


def test_a_broker_that_is_gone_is_told_and_comes_back(page: Page, box: Box) -> None:
    page.goto("/live")
    box.broker.kill()
    expect(page.locator("#fault")).to_contain_text("The broker cannot be reached", timeout=WAIT_MS)
    box.broker.start()
    expect(page.locator("#fault")).to_be_hidden(timeout=WAIT_MS)


def test_a_daemon_that_is_killed_is_told_and_comes_back(page: Page, box: Box) -> None:
    page.goto("/live")
    box.daemon.kill()
    box.daemon.wait()
    expect(page.locator("#fault")).to_contain_text("The box is", timeout=WAIT_MS)
    box.daemon = box.started()
    expect(page.locator("#fault")).to_be_hidden(timeout=WAIT_MS)
    expect(page.locator("#view")).to_be_visible(timeout=WAIT_MS)


def test_a_locked_database_is_told_and_the_review_can_be_given_again(page: Page, box: Box) -> None:
    page.goto("/review")
    page.fill("#reviewer", "Ana")
    page.click("#who [type=submit]")
    expect(page.locator("#review-picture")).to_be_visible(timeout=WAIT_MS)
    with closing(sqlite3.connect(box.database, isolation_level=None, timeout=30)) as other:
        other.execute("BEGIN EXCLUSIVE")
        page.click("[data-label=HEM]")
        expect(page.locator("#fault")).to_contain_text(
            "The results cannot be read or written at the moment", timeout=WAIT_MS
        )
        expect(page.locator("#review-progress")).to_contain_text("0 reviewed")
        other.execute("ROLLBACK")
    page.click("[data-label=HEM]")
    expect(page.locator("#review-progress")).to_contain_text("1 reviewed", timeout=WAIT_MS)
