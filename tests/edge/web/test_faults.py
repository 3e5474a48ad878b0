"""What the page says when something around it fails, and that it comes back by itself."""

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from broker import Mosquitto

from tests.edge.web.conftest import ROOT, address_in, leukoscope, stop, wait_for

pytestmark = pytest.mark.timeout(150)


class Laboratory:
    """A broker, a box that looks at the samples, a logger and the page, each a process of its own."""

    def __init__(self, folder: Path):
        self.folder, self.database = folder, folder / "results.db"
        self.broker = Mosquitto(folder).start()
        self.config = folder / "leukoscope.toml"
        self.config.write_text(
            f'[device]\nid = "box"\n[mqtt]\nport = {self.broker.port}\n[health]\ninterval_s = 1\n'
            f'[camera]\nsource = "files:{ROOT}/samples/cells"\nloop = true\ntrigger = "interval"\ninterval_s = 0.1\n'
            f'[outbox]\nfile = "{folder}/outbox.db"\n[archive]\ndirectory = "{folder}/archive"\nkeep = "all"\n'
            f'[web]\ndatabase = "sqlite:///{self.database}"\n'
        )
        self.box = self.start_box()
        address = f"mqtt://127.0.0.1:{self.broker.port}"
        self.logger = leukoscope("log", "--broker", address, "--to", f"sqlite:///{self.database}", cwd=folder)
        self.page = leukoscope("web", "--config", self.config, "--listen", "127.0.0.1:0", cwd=folder)
        self.client = httpx.Client(base_url=address_in(self.page), timeout=20, trust_env=False)

    def start_box(self) -> "subprocess.Popen[str]":
        return leukoscope("run", "--config", self.config, cwd=self.folder)

    def close(self) -> None:
        self.client.close()
        stop(self.page, self.box, self.logger)
        self.broker.kill()

    def command(self, name: str, **request: Any) -> httpx.Response:
        page = self.client.get("/live", headers={"accept": "text/html"}).text
        token = page.partition('data-token="')[2].partition('"')[0]
        return self.client.post(f"/api/commands/{name}", json=request, headers={"x-leukoscope-token": token})

    def cells(self, **query: str) -> list[dict[str, Any]]:
        found = self.client.get("/api/cells", params=query)
        return found.json()["cells"] if found.status_code == 200 else []

    def counted(self, specimen: str) -> int:
        """Cells of this specimen by the box's own count; 0 while it announces another one."""
        said = self.event("specimen")
        return sum(said["counts"].values()) if said["specimen"] == specimen else 0

    def event(self, wanted: str) -> Any:
        """The newest event of this name."""
        with self.client.stream("GET", "/events") as stream:
            name = ""
            for line in stream.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: ") and name == wanted:
                    return json.loads(line.removeprefix("data: "))
        raise AssertionError("the stream ended")


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    made = Laboratory(tmp_path_factory.mktemp("laboratory"))
    wait_for(made.cells, 30)
    yield made
    made.close()


def test_the_tally_of_the_box_is_the_count_of_the_database(laboratory: Laboratory) -> None:
    assert laboratory.command("specimen_start", specimen="S1", target=5).status_code == 200
    wait_for(lambda: laboratory.counted("S1") >= 12)
    done = laboratory.command("specimen_stop").json()["result"]
    assert done["state"] == "done"
    assert done["target"] == 5
    assert done["checked_here"] is False
    wait_for(lambda: laboratory.event("specimen")["state"] == "done")
    wait_for(lambda: len(laboratory.cells(specimen="S1")) >= sum(done["counts"].values()))
    (total,) = [
        one for one in laboratory.client.get("/api/specimens").json()["specimens"] if one["key"] == "S1"
    ]
    assert total["counts"] == done["counts"]


def test_a_count_goes_on_when_the_box_is_killed(laboratory: Laboratory) -> None:
    laboratory.command("specimen_start", specimen="S2")
    wait_for(lambda: laboratory.counted("S2") >= 5)
    laboratory.box.kill()
    laboratory.box.wait()
    wait_for(lambda: laboratory.event("status")["state"] == "offline")
    answer = laboratory.command("specimen_stop")
    assert (answer.status_code, answer.json()["code"]) == (503, "silent")
    before = laboratory.event("specimen")
    assert before["state"] == "counting"
    laboratory.box = laboratory.start_box()
    wait_for(lambda: laboratory.event("status")["state"] == "online", 30)
    wait_for(lambda: laboratory.counted("S2") > sum(before["counts"].values()) + 3, 30)
    done = laboratory.command("specimen_stop").json()["result"]
    total = sum(done["counts"].values())
    wait_for(lambda: len(laboratory.cells(specimen="S2")) == min(total, 60))
    with sqlite3.connect(laboratory.database) as db:
        (stored,) = db.execute("SELECT count(*) FROM cells WHERE specimen = 'S2'").fetchone()
    assert stored == total  # not one is missing, none counts twice


def test_the_command_line_starts_and_stops_too(laboratory: Laboratory) -> None:
    for words, state in ((["start", "from a shell", "--target", "9"], "counting"), (["stop"], "done")):
        done = leukoscope("specimen", *words, "--config", laboratory.config, "--json", cwd=laboratory.folder)
        said = done.communicate(timeout=30)[0]
        assert done.returncode == 0, said
        answer = json.loads(said.splitlines()[-1])
        assert (answer["specimen"], answer["state"], answer["target"]) == ("from a shell", state, 9)


def test_a_broker_that_is_killed_is_reported_and_found_again(laboratory: Laboratory) -> None:
    laboratory.broker.kill()
    wait_for(lambda: laboratory.event("broker")["connected"] is False)
    answer = laboratory.command("capture")
    assert (answer.status_code, answer.json()["code"]) == (503, "broker")
    assert laboratory.cells()  # what is stored is still shown
    laboratory.broker.start()
    wait_for(lambda: laboratory.event("broker")["connected"] is True, 45)
    wait_for(lambda: laboratory.command("specimen_start", specimen="S3").status_code == 200, 30)


def test_a_locked_database_is_reported_and_read_again(laboratory: Laboratory) -> None:
    cell = laboratory.cells()[0]["id"]
    page = laboratory.client.get("/review", headers={"accept": "text/html"}).text
    token = page.partition('data-token="')[2].partition('"')[0]
    review = {"label": "HEM", "reviewer": "Ada"}

    def send() -> httpx.Response:
        return laboratory.client.post(
            f"/api/cells/{cell}/review", json=review, headers={"x-leukoscope-token": token}
        )

    with sqlite3.connect(laboratory.database, isolation_level=None) as db:
        db.execute("BEGIN EXCLUSIVE")
        refused = send()
        db.execute("ROLLBACK")
    assert (refused.status_code, refused.json()["code"]) == (503, "database")
    assert "locked" in refused.json()["error"]
    wait_for(lambda: send().status_code == 200)


def test_results_that_come_later_than_the_page_are_found(laboratory: Laboratory) -> None:
    folder = laboratory.folder / "empty"
    folder.mkdir()
    config = folder / "leukoscope.toml"
    text = laboratory.config.read_text().replace(str(laboratory.database), str(folder / "later.db"))
    config.write_text(text)
    page = leukoscope("web", "--config", config, "--listen", "127.0.0.1:0", cwd=folder)
    try:
        with httpx.Client(base_url=address_in(page), timeout=20, trust_env=False) as client:
            missing = client.get("/api/cells")
            assert (missing.status_code, missing.json()["code"]) == (503, "no_results")
            with sqlite3.connect(laboratory.database) as db, sqlite3.connect(folder / "later.db") as later:
                db.backup(later)  # the logger comes later than the page
            assert client.get("/api/cells").status_code == 200
    finally:
        stop(page)


def test_an_archive_that_is_gone_is_reported(laboratory: Laboratory) -> None:
    cell = next(cell for cell in laboratory.cells() if cell["image"])
    path = f"/api/cells/{cell['id']}/picture"
    assert laboratory.client.get(path).headers["content-type"] == "image/png"
    archive = laboratory.folder / "archive"
    os.rename(archive, archive.with_name("away"))  # noqa: PTH104  # a folder in use
    try:
        missing = laboratory.client.get(path)
        assert (missing.status_code, missing.json()["code"]) == (404, "picture")
        assert laboratory.client.get(f"/api/cells/{cell['id']}").status_code == 200
    finally:
        shutil.rmtree(archive, ignore_errors=True)
        os.rename(archive.with_name("away"), archive)  # noqa: PTH104
    assert laboratory.client.get(path).status_code == 200


def test_nobody_watches_nothing_is_sent(laboratory: Laboratory) -> None:
    """The live picture ends by itself, and begins again for who watches."""
    view = laboratory.event("view")
    assert view["size"] == [450, 450]
    assert len(view["jpeg"]) < 128 * 1024
    assert view["sharpness"] > 0
    assert view["brightness"] > 0


def test_text_that_no_database_and_no_message_can_hold_is_taken_as_far_as_it_can_be(
    laboratory: Laboratory,
) -> None:
    """Halves of surrogate pairs and NUL characters, which JSON may hold and a browser may send."""
    page = laboratory.client.get("/live", headers={"accept": "text/html"}).text
    headers = {"x-leukoscope-token": page.partition('data-token="')[2].partition('"')[0]}
    cell = laboratory.cells()[0]["id"]
    body = rb'{"label": "other", "reviewer": "A\ud800", "comment": "\u0000b\udc00"}'
    answer = laboratory.client.post(f"/api/cells/{cell}/review", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    review = laboratory.client.get(f"/api/cells/{cell}").json()["review"]
    assert (review["reviewer"], review["comment"]) == ("A?", "\N{REPLACEMENT CHARACTER}b?")
    body = rb'{"specimen": "slide\ud800 \u0000", "target": 7}'
    answer = laboratory.client.post("/api/commands/specimen_start", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["result"]["specimen"] == "slide? \N{REPLACEMENT CHARACTER}"
    body = b'{"specimen": "slide", "target": 1%s}' % (b"0" * 40)
    answer = laboratory.client.post("/api/commands/specimen_start", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (503, "refused")  # by the box, in its words
    assert laboratory.command("specimen_stop").status_code == 200
