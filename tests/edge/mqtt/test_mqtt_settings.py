"""Settings of the broker and what they name: topics by MQTT's rules, hosts, passwords and keys."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from certificates import Authority
from cryptography.hazmat.primitives import serialization

from edge.errors import InputError
from edge.host.address import host_and_port, joined
from edge.mqtt.credentials import Credentials
from edge.mqtt.settings import LONGEST_TOPIC_BYTES, MqttSettings, topic_fault

ROOT = Path(__file__).resolve().parents[3]


def settings(**values: object) -> MqttSettings:
    return msgspec.convert(values, MqttSettings)


@pytest.mark.parametrize(
    "topic",
    ["", "a\n", "a\tb", "lab/\n", "a\x00b", "a\x7f", "a\x85b", "a/#", "+", "$SYS", "/a", "a" * 70_000, "a\ufffe", "\ufdd0",
     "\U0001f52c" * 20_000],
)  # fmt: skip
def test_topics_that_mqtt_does_not_take_are_refused(topic: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="topic"):
        settings(topic=topic)


@pytest.mark.parametrize("topic", ["leukoscope", "lab 3/Süd", "実験室/顕微鏡", "a//b", "a/", "\U0001f52c"])
def test_topics_that_mqtt_takes_are_taken(topic: str) -> None:
    whole = f"{settings(topic=topic).topic}/{'x' * 64}/commands/specimen_start"
    assert topic_fault(whole) == ""


def test_the_longest_topic_of_the_settings_fits_with_what_follows_it() -> None:
    longest = settings(topic="\U0001f52c" * 16_000).topic
    assert topic_fault(f"{longest}/{'x' * 64}/commands/specimen_start") == ""
    assert str(LONGEST_TOPIC_BYTES) in topic_fault("a" * 65_536)


@pytest.mark.parametrize("topic", ["", "a/+", "#", "a\n", "a\u009f", "\ud800", "a\uffff"])
def test_the_fault_of_a_topic_is_named(topic: str) -> None:
    assert topic_fault(topic).startswith("it ")


def test_brackets_of_an_address_are_no_part_of_the_host() -> None:
    assert settings(host="[::1]").host == settings(host="::1").host == "::1"
    assert host_and_port("[::1]:1883") == ("::1", 1883)
    assert host_and_port("broker.lab:8883") == ("broker.lab", 8883)
    assert joined(*host_and_port("[::1]:1883")) == "[::1]:1883" and joined("a", 1) == "a:1"
    for wrong in ("::1:1883", "[::1]", "host", ":1883", "host:", "host:0x10", "host:70000", "host:²", "[]:1"):
        with pytest.raises(InputError, match="HOST:PORT"):
            host_and_port(wrong)


def encrypted_key(folder: Path, password: bytes) -> tuple[Path, Path]:
    certificate, key = Authority(folder).issue("box")
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(password),
        )
    )
    return certificate, key


def test_an_encrypted_key_is_named_and_opened_by_the_password_of_its_file(tmp_path: Path) -> None:
    certificate, key = encrypted_key(tmp_path, b"open sesame")
    files = {"cert_file": str(certificate), "key_file": str(key)}
    with pytest.raises(InputError, match=r"key_file .*the key is encrypted; set \[mqtt\] key_password_file"):
        Credentials(settings(**files))
    secret = tmp_path / "secret"
    secret.write_bytes("\ufeffwrong\r\n".encode())
    with pytest.raises(InputError, match="key_password_file .*: it is not the password of") as raised:
        Credentials(settings(**files, key_password_file=str(secret)))
    assert "wrong" not in str(raised.value)
    secret.write_bytes("\ufeffopen sesame\r\n".encode())
    assert Credentials(settings(**files, key_password_file=str(secret))).tls is not None


def test_an_encrypted_key_never_asks_at_the_terminal(tmp_path: Path) -> None:
    certificate, key = encrypted_key(tmp_path, b"open sesame")
    program = (
        "import sys; from edge.mqtt.credentials import Credentials; from edge.mqtt.settings import MqttSettings\n"
        "Credentials(MqttSettings(cert_file=sys.argv[1], key_file=sys.argv[2]))"
    )
    # A terminal of its own, as a person has it: script(1) gives one.
    done = subprocess.run(
        ["script", "-qec", f"{sys.executable} -c '{program}' {certificate} {key}", "/dev/null"],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert "the key is encrypted" in done.stdout
    assert "PEM pass phrase" not in done.stdout


def test_a_key_that_is_not_the_certificates_is_not_called_encrypted(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, _ = authority.issue("box")
    _, other = authority.issue("other")
    with pytest.raises(InputError, match="cert_file or key_file") as raised:
        Credentials(settings(cert_file=str(certificate), key_file=str(other)))
    assert "encrypted" not in str(raised.value)


def test_a_password_file_may_begin_with_a_byte_order_mark_and_another_encoding_is_named(
    tmp_path: Path,
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"\xef\xbb\xbfgeh#eim\r\n")
    assert Credentials(settings(password_file=str(secret))).password == "geh#eim"
    secret.write_bytes("geh#eim".encode("utf-16"))
    with pytest.raises(InputError, match="password_file .*: it is UTF-16; save it as UTF-8"):
        Credentials(settings(password_file=str(secret)))
