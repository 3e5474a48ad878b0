"""Upgrading from a signed release archive: nothing runs before the signature, the hash and the version are right."""

import hashlib
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from edge.model.installation.signature import make_key

ROOT = Path(__file__).resolve().parents[2]
NAME = "leukoscope-2.0.0-arm64"
INSTALLER = b'#!/bin/bash\necho "installed with $*" >"$DESTDIR/installed"\n'


def write_archive(folder: Path, key: Path, name: str = NAME) -> Path:
    """An archive whose installer leaves a file, signed as bundle.sh does."""
    archive = folder / f"{name}.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo(f"{name}/systemd/install.sh")
        member.size = len(INSTALLER)
        tar.addfile(member, io.BytesIO(INSTALLER))
    sums = folder / f"{archive.name}.sha256"
    sums.write_text(f"{hashlib.sha256(archive.read_bytes()).hexdigest()}  {archive.name}\n")
    sign = ["openssl", "pkeyutl", "-sign", "-inkey", key, "-rawin", "-in", sums, "-out", f"{sums}.sig"]
    subprocess.run(sign, check=True)
    return archive


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A root on which version 1.5.0 runs, and the maker's key is trusted; the key lies beside it."""
    root = tmp_path / "root"
    program = root / "opt/leukoscope/current/venv/bin/leukoscope"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho leukoscope 1.5.0\n")
    program.chmod(0o755)
    trusted = root / "etc/leukoscope/release.pub"
    trusted.parent.mkdir(parents=True)
    trusted.write_text(make_key(tmp_path / "maker.key", "the maker"))
    return root


def upgrade(root: Path, archive: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", str(ROOT / "systemd/upgrade.sh"), str(archive), *options],
        env={**os.environ, "DESTDIR": str(root)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def assert_refused(root: Path, archive: Path, why: str) -> None:
    done = upgrade(root, archive)
    assert done.returncode == 1
    assert why in done.stderr and done.stderr.count("\n") == 1
    assert not (root / "installed").exists()
    assert not list((root / "opt/leukoscope").glob("unpack.*"))


def test_what_the_maker_signed_is_installed_with_the_options(box: Path, tmp_path: Path) -> None:
    archive = write_archive(tmp_path, tmp_path / "maker.key")
    done = upgrade(box, archive, "--broker", "--log")
    assert done.returncode == 0, done.stderr
    assert (box / "installed").read_text() == "installed with --broker --log\n"
    assert not list((box / "opt/leukoscope").glob("unpack.*"))


def test_another_key_is_refused(box: Path, tmp_path: Path) -> None:
    make_key(tmp_path / "other.key", "another")
    archive = write_archive(tmp_path, tmp_path / "other.key")
    assert_refused(box, archive, "the signature is not that of the key")


def test_a_changed_archive_is_refused(box: Path, tmp_path: Path) -> None:
    archive = write_archive(tmp_path, tmp_path / "maker.key")
    archive.write_bytes(archive.read_bytes() + b"x")
    assert_refused(box, archive, "it is not what was signed")


def test_a_changed_hash_is_refused(box: Path, tmp_path: Path) -> None:
    archive = write_archive(tmp_path, tmp_path / "maker.key")
    sums = tmp_path / f"{archive.name}.sha256"
    sums.write_text(sums.read_text().replace("2.0.0", "3.0.0"))
    assert_refused(box, archive, "the signature is not that of the key")


def test_an_older_version_is_refused(box: Path, tmp_path: Path) -> None:
    archive = write_archive(tmp_path, tmp_path / "maker.key", "leukoscope-1.4.9-arm64")
    assert_refused(box, archive, "version 1.4.9, and 1.5.0 runs")


@pytest.mark.parametrize("missing", [".sha256", ".sha256.sig"])
def test_an_unsigned_archive_is_refused(box: Path, tmp_path: Path, missing: str) -> None:
    archive = write_archive(tmp_path, tmp_path / "maker.key")
    Path(f"{archive}{missing}").unlink()
    assert_refused(box, archive, "copy the archive with its .sha256 and .sha256.sig")


def test_a_box_without_a_key_says_so(box: Path, tmp_path: Path) -> None:
    archive = write_archive(tmp_path, tmp_path / "maker.key")
    (box / "etc/leukoscope/release.pub").unlink()
    assert_refused(box, archive, "put the public key of the maker there")
