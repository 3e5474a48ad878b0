"""The whole loop in a browser: review 40 cells, adapt, see the gain, install, go back."""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api")
pytest.importorskip("sklearn")
from broker import Mosquitto
from other_laboratory import review, write_cells
from playwright.sync_api import Browser, expect

from edge.model.file import read_model
from edge.model.installed import default_model
from tests.edge.web.conftest import address_in, leukoscope, stop, wait_for

pytestmark = pytest.mark.timeout(400)
KEYS = {"all": "1", "hem": "2"}
REVIEWS = 40


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Broker, daemon on another laboratory's cells, logger and page; the page's address and the folder."""
    folder = tmp_path_factory.mktemp("box")
    write_cells(folder / "cells")
    with Mosquitto(folder) as broker:
        broker.start()
        config = folder / "leukoscope.toml"
        config.write_text(
            f"[device]\nid = 'box'\n[camera]\nsource = 'files:{folder}/cells'\nloop = true\ntrigger = 'interval'\n"
            f"interval_s = 0.2\n[mqtt]\nport = {broker.port}\n[model]\ndirectory = '{folder}/models'\n"
            f"[outbox]\nfile = '{folder}/outbox.db'\n[archive]\ndirectory = '{folder}/archive'\nkeep = 'all'\n"
            f"[web]\nlisten = '127.0.0.1:0'\ndatabase = 'sqlite:///{folder}/results.db'\n[health]\ninterval_s = 1\n"
        )
        daemon = leukoscope("run", "--config", config, cwd=folder)
        to = f"sqlite:///{folder}/results.db"
        logger = leukoscope("log", "--broker", f"mqtt://127.0.0.1:{broker.port}", "--to", to, cwd=folder)
        web = leukoscope("web", "--config", config, cwd=folder)
        try:
            yield address_in(web), folder
        finally:
            stop(web, daemon, logger)


def rows(folder: Path, query: str) -> list[tuple[str, ...]]:
    try:
        with closing(sqlite3.connect(f"file:{folder}/results.db?mode=ro", uri=True)) as database:
            return database.execute(query).fetchall()
    except sqlite3.OperationalError:  # not made yet
        return []


def test_review_adapt_install_and_go_back(browser: Browser, box: tuple[str, Path], tmp_path: Path) -> None:
    address, folder = box
    wait_for(lambda: len(rows(folder, "SELECT id FROM cells")) >= 60, 60)
    context = browser.new_context(base_url=address, locale="en-GB", viewport={"width": 1100, "height": 1000})
    context.set_default_timeout(30_000)
    expect.set_options(timeout=60_000)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto("/review")
    expect(page.locator("#lab-model")).to_contain_text("not adapted and not checked in this laboratory")
    expect(page.locator("#install")).to_be_disabled()
    page.click("#adapt")  # nothing was reviewed yet
    expect(page.locator("#lab-state")).to_contain_text("Not adapted")
    page.fill("#reviewer", "Ana")
    page.select_option("#order", "random")
    page.click("#who button[type=submit]")
    expect(page.locator("#review-picture")).to_be_visible()
    truth = dict(rows(folder, "SELECT id, source FROM cells"))
    for number in range(REVIEWS):
        expect(page.locator("#review-progress")).to_contain_text(f"{number} reviewed")
        shown = re.search(r"/api/cells/([^/]+)/picture", page.get_attribute("#review-picture", "src") or "")
        assert shown
        if shown[1] not in truth:
            truth |= dict(rows(folder, "SELECT id, source FROM cells"))
        page.keyboard.press(KEYS[Path(truth[shown[1]]).parent.name])
    expect(page.locator("#review-progress")).to_contain_text(f"{REVIEWS} reviewed")
    assert len(rows(folder, "SELECT cell FROM reviews")) == REVIEWS
    others = dict(rows(folder, "SELECT min(id), source FROM cells GROUP BY source"))
    said = {cell: Path(source).parent.name.upper() for cell, source in others.items()}
    review(f"sqlite:///{folder}/results.db", "Ana", said)  # the samples that the 40 did not happen to hold
    expect(page.locator("#lab-model")).to_contain_text("checked here")
    page.click("#adapt")
    expect(page.locator("#lab-state")).to_contain_text("Better on", timeout=90_000)
    before, after = (
        float(page.locator(f"#lab-gain tbody tr:first-child td:nth-of-type({n})").inner_text()[:4])
        for n in (1, 2)
    )
    assert after > before
    page.screenshot(path=tmp_path / "adapted.png", full_page=True)
    page.click("#install")
    expect(page.locator("#lab-state")).to_contain_text("Installed: on the last")
    expect(page.locator("#lab-model")).to_contain_text("adapted here", timeout=30_000)
    state = json.loads((folder / "models/state.json").read_text())
    adapted = read_model(folder / "models" / f"{state['current']}.tflite")
    assert adapted.adaptation is not None and adapted.adaptation.made["reviewers"].keys() == {"Ana"}
    judged = f"SELECT id FROM cells WHERE model LIKE '%{adapted.sha256}%' AND specimen = 'all'"
    wait_for(lambda: len(rows(folder, judged)) >= 3, 30)
    newest = rows(folder, judged)[-1][0]
    page.goto(f"/cells/{newest}")  # where its verdict comes from, by the new layer
    page.request.get(f"/api/cells/{newest}/map").body().startswith(b"\x89PNG")
    page.goto("/report?specimen=all")
    expect(page.locator("body")).to_contain_text("Adapted to this laboratory")
    page.goto("/review")
    page.click("#back")
    expect(page.locator("#lab-state")).to_contain_text("The model before is used again")
    expect(page.locator("#lab-model")).to_contain_text("not adapted", timeout=30_000)
    shipped = read_model(default_model()).sha256
    wait_for(
        lambda: rows(folder, "SELECT model FROM cells ORDER BY id DESC LIMIT 1")[0][0].find(shipped) > 0, 30
    )
    sequences = [row[0] for row in rows(folder, "SELECT sequence FROM cells ORDER BY sequence")]
    # Not one result was lost since the logger was there.
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
    expect.set_options(timeout=5_000)
    context.close()
    assert wrong == []


def test_the_page_refuses_what_it_does_not_know_and_a_second_adaptation(box: tuple[str, Path]) -> None:
    import httpx

    address, _ = box
    with httpx.Client(base_url=address) as client:
        first = client.get("/review")
        token = re.search(r'data-token="([^"]+)"', first.text)
        assert token
        headers = {"x-leukoscope-token": token[1]}
        assert client.post("/api/laboratory/format", json={}, headers=headers).status_code == 404
        assert client.post("/api/laboratory/adapt", json={}).status_code == 403
        answers = [
            client.post("/api/laboratory/adapt", json={}, headers=headers).status_code for _ in range(2)
        ]
        assert answers == [200, 409]
        wait_for(lambda: not client.get("/api/laboratory").json()["running"], 90)
