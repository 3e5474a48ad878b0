"""Keys, signatures and what a box with trusted keys refuses, by the command line."""

import json
from pathlib import Path

import pytest
from command import clean, leukoscope

from edge.model import bundle
from edge.model.file import read_model
from edge.model.installation.signature import check, sign, trusted
from edge.model.installed import default_model

pytest.importorskip("cryptography")


@pytest.fixture
def laboratory(tmp_path: Path) -> Path:
    """A folder with two keys and a copy of the model that ships, signed by the first."""
    for name in ("ours", "theirs"):
        clean(leukoscope("model", "keygen", f"{name}.key", "--name", f"Lab {name}", cwd=tmp_path), 0)
    (tmp_path / "model.tflite").write_bytes(default_model().read_bytes())
    clean(leukoscope("model", "sign", "model.tflite", "--key", "ours.key", "--counter", "7", cwd=tmp_path), 0)
    return tmp_path


def test_a_key_is_for_its_owner_alone_and_never_overwritten(laboratory: Path) -> None:
    assert (laboratory / "ours.key").stat().st_mode & 0o777 == 0o600
    assert (laboratory / "ours.key.pub").read_text().startswith("ed25519 ")
    before = (laboratory / "ours.key").read_bytes()
    assert "never overwritten" in clean(leukoscope("model", "keygen", "ours.key", cwd=laboratory), 2)
    assert (laboratory / "ours.key").read_bytes() == before
    (laboratory / "ours.key").chmod(0o644)
    done = leukoscope("model", "sign", "model.tflite", "--key", "ours.key", cwd=laboratory)
    assert "other users may read it" in clean(done, 2)


def test_a_signed_file_is_verified_and_has_a_hash_of_its_own(laboratory: Path) -> None:
    done = leukoscope("model", "verify", "model.tflite", "--keys", "ours.key.pub", "--json", cwd=laboratory)
    clean(done, 0)
    told = json.loads(done.stdout)
    assert told["valid"] and told["signed"][0]["by"] == "signed by Lab ours"
    assert told["signed"][0]["counter"] == 7
    assert told["sha256"] != read_model(default_model()).sha256
    done = leukoscope("model", "verify", "model.tflite", "--keys", "theirs.key.pub", cwd=laboratory)
    assert "which is not in [model] trusted_keys" in clean(done, 1)
    done = leukoscope("model", "verify", default_model(), "--keys", "ours.key.pub", cwd=laboratory)
    assert "is not signed" in clean(done, 1)


def test_signing_again_counts_up(laboratory: Path) -> None:
    first = sign(laboratory / "model.tflite", laboratory / "ours.key")
    second = sign(laboratory / "model.tflite", laboratory / "ours.key")
    keys = trusted(laboratory / "ours.key.pub")
    assert check(second, keys)[0].counter > check(first, keys)[0].counter > 7


@pytest.mark.parametrize("member", ["manifest.json", "card.md", "signature", "flatbuffer"])
def test_whatever_is_altered_the_signature_no_longer_fits(laboratory: Path, member: str) -> None:
    model = read_model(laboratory / "model.tflite")
    members, flatbuffer = dict(model.members), model.flatbuffer
    if member == "flatbuffer":
        flatbuffer = flatbuffer[:-1] + bytes([flatbuffer[-1] ^ 1])
    elif member == "manifest.json":
        members[member] = members[member].replace(b'"temperature": ', b'"temperature": 1')
        assert members[member] != model.members[member]
    elif member == "signature":
        members[member] = members[member].replace(b'"counter":7', b'"counter":8')
        assert members[member] != model.members[member]
    else:
        members[member] += b"\nalways right\n"
    (laboratory / "altered.tflite").write_bytes(bundle.append(flatbuffer, members))
    for keys in ((), ("--keys", "ours.key.pub")):
        done = leukoscope("model", "verify", "altered.tflite", *keys, cwd=laboratory)
        assert done.returncode in (1, 2) and "altered" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no key in it"),
        ("# nothing\n", "no key in it"),
        ("rsa AAAA name\n", "line 1: no public key"),
        ("ed25519 not-base64 name\n", "line 1: no public key"),
        ("ed25519 AAAA name\n", "line 1: no public key"),
        ("-----BEGIN PRIVATE KEY-----\n", "line 1: no public key"),
    ],
)
def test_a_file_of_keys_that_holds_none_is_refused(laboratory: Path, text: str, words: str) -> None:
    (laboratory / "keys").write_text(text)
    done = leukoscope("model", "verify", "model.tflite", "--keys", "keys", cwd=laboratory)
    assert words in clean(done, 2)


def test_the_settings_refuse_an_unsigned_model_before_anything_starts(laboratory: Path) -> None:
    """check, run, doctor, classify and adapt with the settings; a signed one passes."""
    config = laboratory / "leukoscope.toml"

    def settings(file: str) -> None:
        config.write_text(
            f"[model]\nfile = '{file}'\ntrusted_keys = '{laboratory}/ours.key.pub'\n"
            f"directory = '{laboratory}/models'\n[outbox]\nfile = '{laboratory}/outbox.db'\n"
            f"[archive]\ndirectory = '{laboratory}/archive'\n[camera]\nsource = 'files:{laboratory}/cells'\n"
        )

    settings("")
    (laboratory / "cells").mkdir()
    for command in (("check",), ("run",), ("classify", "cells")):
        done = leukoscope(*command, "--config", config, cwd=laboratory)
        assert done.returncode in (1, 2) and "is not signed" in done.stderr + done.stdout, (command, done)
    settings("model.tflite")
    assert leukoscope("check", "--config", config, cwd=laboratory).returncode == 0
