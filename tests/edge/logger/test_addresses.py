"""Addresses of brokers and databases: read with any password, and never shown with one."""

import logging

import pytest
from broker import free_port

from edge.cli.main import main
from edge.errors import InputError, LeukoscopeError
from edge.host import secrets
from edge.logger import addresses
from edge.logger.stores.sinks import open_sink

PASSWORDS = [
    "geheim",
    "geh#eim",
    "geh@eim",
    "geh/eim",
    "geh?eim",
    "ge:heim",
    "ge[heim",
    "ge%heim",
    "ge heim",
    "géheim",
]


@pytest.fixture(autouse=True)
def _forget():
    yield
    secrets.forget_all()


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_may_hold_any_sign(password):
    broker = addresses.broker(f"mqtt://lab:{password}@host.lab:1884", "auto", {})
    assert (broker.settings.host, broker.settings.port) == ("host.lab", 1884)
    assert (broker.settings.username, broker.password, broker.tls) == ("lab", password, False)
    database = addresses.database(f"postgresql://lab:{password}@db.lab:5433/leukoscope")
    url = database.url
    assert (url.username, url.password, url.host, url.port) == ("lab", password, "db.lab", 5433)
    assert database.name == "postgresql://db.lab:5433/leukoscope"


def test_codes_variables_and_defaults(monkeypatch):
    monkeypatch.setenv("SECRET", "ge@he/im#1")
    assert addresses.broker("mqtt://u:ge%40heim@h", "auto", {}).password == "ge@heim"
    broker = addresses.broker("mqtts://u:${SECRET}@[::1]/", "auto", {})
    assert (broker.password, broker.settings.host, broker.settings.port) == ("ge@he/im#1", "::1", 8883)
    assert addresses.broker("mqtt://h", "auto", {}).settings.port == 1883
    url = addresses.database("postgresql://u:${SECRET}@h/d?sslmode=require").url
    assert (url.password, url.query["sslmode"]) == ("ge@he/im#1", "require")
    with pytest.raises(InputError, match="NOT_SET"):
        addresses.broker("mqtt://u:${NOT_SET}@h", "auto", {})


BROKEN = [
    "mqtt://u:{}@h:port",
    "mqtt://u:{}@",
    "http://u:{}@h",
    "mqtt://u:{}@h:99999",
    "u:{}@h",
    "mqtt:u:{}@h",
    "mqtt://u:{}@h/x",
]
BROKEN_DATABASES = [
    "postgresql://u:{}@h:port/d",
    "mysql://u:{}@h/d",
    "u:{}@h",
    "postgresql:u:{}@h",
    "postgresql://u:{}@[::1/d",
]


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("form", [*BROKEN, *BROKEN_DATABASES])
def test_no_error_shows_a_password(tmp_path, capsys, caplog, form, password):
    caplog.set_level(logging.DEBUG)
    address = form.format(password)
    sqlite = f"sqlite:///{tmp_path}/r.db"
    if form in BROKEN:
        assert main(["log", "--broker", address, "--to", sqlite]) == 2
    else:
        assert main(["log", "--broker", "mqtt://127.0.0.1", "--to", address]) == 2
        assert main(["results", address]) == 2
    shown = capsys.readouterr().err + caplog.text
    rest = password.lstrip("ge").replace("%h", "h")
    assert password not in shown and rest.strip("#@/?:[ %é") not in shown, shown


@pytest.mark.parametrize("password", PASSWORDS)
def test_no_secret_is_in_the_words_of_a_driver(password):
    port = free_port()
    with pytest.raises(LeukoscopeError) as caught:
        open_sink(f"postgresql://lab:{password}@127.0.0.1:{port}/d?application_name=geheim")
    assert "heim" not in str(caught.value) and str(port) in str(caught.value)


def test_what_names_no_file_is_refused(tmp_path, monkeypatch):
    for target in ("sqlite://", "sqlite:///:memory:", "sqlite:", "postgresql:", "results.txt", ""):
        with pytest.raises(InputError):
            open_sink(target)
    monkeypatch.chdir(tmp_path)
    assert addresses.database("sqlite:///r.db").name == f"sqlite:///{tmp_path}/r.db"
    with pytest.raises(InputError, match="no such file"):
        from edge.logger.queries import Results

        Results("sqlite:///none.db")
