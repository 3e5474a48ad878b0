"""TLS, passwords and access lists of a real Mosquitto: each fault is named, and nobody is hammered with attempts."""

import datetime as dt
import logging
import shutil
import ssl
import subprocess
import time
from types import SimpleNamespace

import pytest
from broker import Mosquitto, eventually, make_record
from certificates import DAY, Authority

from edge.errors import InputError
from edge.mqtt import faults
from edge.mqtt.check import check_broker
from edge.mqtt.publisher import MqttSettings, Publisher
from edge.outbox.queue import Outbox


@pytest.fixture
def outbox(tmp_path):
    outbox = Outbox(tmp_path / "outbox.db")
    yield outbox
    outbox.close()


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def tls_broker(folder, authority, server, extra=""):
    certificate, key = server
    return Mosquitto(folder, f"cafile {authority.file}\ncertfile {certificate}\nkeyfile {key}\n{extra}")


def publishes(settings, outbox):
    publisher = Publisher(settings, "box", outbox)
    publisher.start()
    outbox.accept(make_record())
    return publisher


def test_records_go_over_tls_with_a_certificate_of_ones_own(tmp_path, authority, outbox):
    with tls_broker(tmp_path, authority, authority.issue("server"), "require_certificate true") as broker:
        broker.start()
        certificate, key = authority.issue("box")
        settings = MqttSettings(
            port=broker.port, ca_file=str(authority.file), cert_file=str(certificate), key_file=str(key)
        )
        publisher = publishes(settings, outbox)
        assert publisher.wait_drained(60)
        assert eventually(lambda: publisher.state() == "connected, MQTT 5")
        publisher.stop(5)


FAULTS = {
    "expired": "expired certificate: the broker's",
    "not yet valid": "certificate not yet valid",
    "wrong CA": "wrong CA",
    "wrong host name": "wrong host name: the broker's certificate is not for 127.0.0.1",
    "no certificate": "certificate refused: the broker wants a certificate of this box",
    "own certificate expired": "certificate refused: this box's certificate has expired",
    "own certificate of another authority": "certificate refused: the broker does not know the authority",
    "no TLS there": "no TLS on port",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_certificates_is_named_once_and_tried_seldom(
    tmp_path, authority, outbox, caplog, fault
):
    caplog.set_level(logging.INFO)
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other", "stranger")
    server = {
        "expired": lambda: authority.issue("server", ends=-dt.timedelta(hours=1)),
        "not yet valid": lambda: authority.issue("server", begins=DAY),
        "wrong host name": lambda: authority.issue("server", hosts=("broker.example", "10.9.9.9")),
    }.get(fault, lambda: authority.issue("server"))()
    own = {
        "own certificate expired": lambda: authority.issue("box", ends=-dt.timedelta(hours=1)),
        "own certificate of another authority": lambda: stranger.issue("box"),
    }.get(fault, lambda: None)()
    extra = "require_certificate true" if own or fault == "no certificate" else ""
    plain = Mosquitto(tmp_path)
    with plain if fault == "no TLS there" else tls_broker(tmp_path, authority, server, extra) as broker:
        broker.start()
        settings = MqttSettings(
            port=broker.port,
            ca_file=str((stranger if fault == "wrong CA" else authority).file),
            cert_file=str(own[0]) if own else "",
            key_file=str(own[1]) if own else "",
        )
        publisher = publishes(settings, outbox)
        eventually(lambda: FAULTS[fault] in publisher.state())
        time.sleep(2)
        assert FAULTS[fault] in publisher.state() and not publisher.connected.is_set()
        warnings = [r.message for r in caplog.records if r.levelno >= logging.WARNING]
        assert len(warnings) == 1 and FAULTS[fault] in warnings[0], warnings
        publisher.stop(1)
        well, said = check_broker(settings, "box", timeout_s=3)
        assert not well and FAULTS[fault] in said
    assert outbox.depth() == 1


def test_a_wrong_password_is_named_and_a_corrected_file_works_without_restart(tmp_path, outbox, caplog):
    if shutil.which("mosquitto_passwd") is None:
        pytest.skip("mosquitto_passwd is missing (apt install mosquitto)")
    passwords, secret = tmp_path / "passwords", tmp_path / "secret"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "box", "right"], check=True)
    secret.write_text("wrong\n")
    attempts = tmp_path / "attempts.log"
    extra = f"password_file {passwords}\nlog_dest file {attempts}\nlog_type all"
    with Mosquitto(tmp_path, extra, anonymous=False) as broker:
        broker.start()
        settings = MqttSettings(port=broker.port, username="box", password_file=str(secret))
        publisher = publishes(settings, outbox)
        eventually(lambda: "wrong password, or user box may not connect" in publisher.state())
        time.sleep(3)
        assert attempts.read_text().count("as leukoscope-box") <= 2
        assert sum("wrong password" in r.message for r in caplog.records) == 1
        assert "right" not in publisher.state()
        assert "wrong password" in check_broker(settings, "box")[1]
        secret.write_text("right\n")
        assert publisher.wait_drained(60)
        publisher.stop(5)


def test_a_user_name_that_is_missing_is_asked_for(tmp_path, outbox):
    with Mosquitto(tmp_path, anonymous=False) as broker:
        broker.start()
        publisher = publishes(MqttSettings(port=broker.port), outbox)
        eventually(lambda: "it wants a user name; set [mqtt] username" in publisher.state())
        publisher.stop(1)


def test_a_renewed_certificate_is_used_without_restart(tmp_path, authority, outbox, caplog):
    caplog.set_level(logging.INFO)
    log = tmp_path / "broker.log"
    extra = f"require_certificate true\nuse_identity_as_username true\nlog_dest file {log}\nlog_type all"
    with tls_broker(tmp_path, authority, authority.issue("server"), extra) as broker:
        broker.start()
        certificate, key = authority.issue("first")
        settings = MqttSettings(
            port=broker.port, ca_file=str(authority.file), cert_file=str(certificate), key_file=str(key)
        )
        publisher = publishes(settings, outbox)
        assert publisher.wait_drained(60)
        key.write_text("half-written")  # a renewal that is under way, or went wrong
        eventually(lambda: any("earlier ones are kept" in r.message for r in caplog.records))
        assert publisher.connected.is_set()
        renewed, renewed_key = authority.issue("second")
        renewed_key.replace(key)
        renewed.replace(certificate)
        eventually(lambda: "u'second'" in log.read_text())
        outbox.accept(make_record())
        assert publisher.wait_drained(60)
        publisher.stop(5)


def test_variables_of_the_environment_stand_in_for_names_and_files(tmp_path, outbox, monkeypatch):
    with pytest.raises(InputError, match="ca_file: the environment has no NOWHERE"):
        Publisher(MqttSettings(ca_file="${NOWHERE}/ca.crt"), "box", outbox)
    monkeypatch.setenv("HERE", str(tmp_path))
    with pytest.raises(InputError, match=f"password_file {tmp_path}/none"):
        Publisher(MqttSettings(password_file="${HERE}/none"), "box", outbox)


def test_doctor_names_what_keeps_records_from_the_broker(tmp_path, authority):
    acl = tmp_path / "acl"
    acl.write_text("topic read #\n")
    with Mosquitto(tmp_path, extra=f"acl_file {acl}") as broker:
        down, said = check_broker(MqttSettings(port=broker.port), "box", timeout_s=1)
        assert not down and "nothing listens" in said
        broker.start()
        well, said = check_broker(MqttSettings(port=broker.port), "box")
        assert not well and "write to leukoscope/box/cells" in said
        well, said = check_broker(MqttSettings(port=broker.port, ca_file=str(authority.file)), "box")
        assert not well and "no TLS on port" in said
        well, said = check_broker(MqttSettings(ca_file=str(tmp_path / "none")), "box")
        assert not well and "ca_file" in said
    with Mosquitto(tmp_path) as broker:
        broker.start()
        well, said = check_broker(MqttSettings(port=broker.port), "box")
        assert well and said.startswith("connected, MQTT 5, may publish; but no logger has subscribed")


def test_a_fault_of_the_clock_stays_the_same_fault_while_the_clock_goes_on(monkeypatch):
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = 9, "certificate is not yet valid"
    told = []
    for minute in (13, 14):
        now = dt.datetime(2026, 11, 29, 16, minute, tzinfo=dt.timezone.utc)
        monkeypatch.setattr(faults, "datetime", SimpleNamespace(now=lambda zone, now=now: now))
        told.append(faults.of_connecting(error, "broker", 8883, tls=True))
    assert told[0].text == told[1].text
    assert "2026-11-29 16:13 UTC" in told[0].said() and "16:14 UTC" in told[1].said()
