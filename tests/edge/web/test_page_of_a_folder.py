"""The page of a box that works through a folder of images: it offers nothing that this box refuses."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api")
from broker import Mosquitto
from playwright.sync_api import Browser, expect

from edge.host.languages import LANGUAGES
from edge.web.texts import catalogue
from tests.edge.web.conftest import address_in, leukoscope, stop

pytestmark = pytest.mark.timeout(120)
SAMPLES = Path(__file__).resolve().parents[3] / "samples" / "cells"


@pytest.fixture(scope="module")
def folder_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page's address; the box is still at its folder, an image every half second."""
    folder = tmp_path_factory.mktemp("box")
    with Mosquitto(folder) as broker:
        broker.start()
        config = folder / "leukoscope.toml"
        config.write_text(
            f"[device]\nid = 'box'\n[camera]\nsource = 'files:{SAMPLES}'\ntrigger = 'interval'\ninterval_s = 0.5\n"
            f"[mqtt]\nport = {broker.port}\n[outbox]\nfile = '{folder}/outbox.db'\n"
            f"[web]\nlisten = '127.0.0.1:0'\ndatabase = 'sqlite:///{folder}/results.db'\n[health]\ninterval_s = 1\n"
        )
        daemon = leukoscope("run", "--config", config, cwd=folder)
        web = leukoscope("web", "--config", config, cwd=folder)
        try:
            yield address_in(web)
        finally:
            stop(web, daemon)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sentence_stands_in_place_of_start_stop_and_capture(
    browser: Browser, folder_page: str, language: str
) -> None:
    context = browser.new_context(
        base_url=folder_page, locale=language, viewport={"width": 360, "height": 740}
    )
    page = context.new_page()
    page.goto("/live")
    expect(page.locator("#no-start")).to_be_visible(timeout=30_000)
    expect(page.locator("#no-start")).to_contain_text(catalogue(language)["live.no_start"])
    for hidden in ("#begin", "#stop", "#capture", "#specimen", "#counts"):
        expect(page.locator(hidden)).to_be_hidden()
    width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert width <= 0
    page.click("#no-start a")
    expect(page.locator("h1")).to_have_text(catalogue(language)["page.specimens"])
    context.close()
