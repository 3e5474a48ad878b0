"""The Debian package: what is in it, and what its scripts would do."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is missing: not a Debian system")
    if not (ROOT / ".git").exists():
        pytest.skip("the package is made of a git checkout")
    out = tmp_path_factory.mktemp("deb")
    built = subprocess.run(
        [ROOT / "systemd" / "deb.sh", out], capture_output=True, text=True, timeout=120, check=True
    )
    (file,) = out.glob("leukoscope_*_all.deb")
    assert str(file) in built.stdout
    return file


def dpkg_deb(*arguments: object) -> str:
    done = subprocess.run(
        ["dpkg-deb", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def test_its_fields_say_what_it_is_and_needs(package: Path) -> None:
    fields = dpkg_deb("--field", package)
    assert "Package: leukoscope\n" in fields
    assert "python3-venv" in fields
    assert "@" not in fields.replace("leukoscope@localhost", "")
    assert "not a diagnosis" in fields
    version = dpkg_deb("--field", package, "Version").strip()
    newer = subprocess.run(["dpkg", "--compare-versions", version, "gt", "0.1.0"], timeout=20)
    assert newer.returncode == 0


def test_it_holds_what_the_installer_reads_and_nothing_else(package: Path) -> None:
    lines = dpkg_deb("--contents", package).splitlines()
    assert all(line.split()[1] == "root/root" for line in lines)
    paths = {line.split()[5] for line in lines}
    share = "./usr/share/leukoscope"
    for needed in ("systemd/install.sh", "systemd/box.lock", "edge/__main__.py", "pyproject.toml", "LICENSE"):
        assert f"{share}/{needed}" in paths
    assert any(path.startswith(f"{share}/models/") and path.endswith(".tflite") for path in paths)
    assert "./usr/share/doc/leukoscope/copyright" in paths
    assert not [path for path in paths if "__pycache__" in path or "/tests/" in path]
    install = next(line for line in lines if line.endswith("/systemd/install.sh"))
    assert install.startswith("-rwxr-xr-x")


def test_its_scripts_are_for_the_plain_shell_and_call_the_installer(package: Path, tmp_path: Path) -> None:
    dpkg_deb("--control", package, tmp_path)
    for script in ("postinst", "prerm", "postrm"):
        checked = subprocess.run(["sh", "-n", tmp_path / script], capture_output=True, text=True, timeout=20)
        assert checked.returncode == 0, checked.stderr
        assert (tmp_path / script).stat().st_mode & 0o111
    assert (tmp_path / "conffiles").read_text() == "/etc/default/leukoscope\n"
    # Other calls of dpkg, such as one after a failed upgrade, change nothing.
    for script, argument in (
        ("postinst", "abort-upgrade"),
        ("prerm", "upgrade"),
        ("postrm", "remove"),
    ):
        done = subprocess.run(["sh", tmp_path / script, argument], capture_output=True, text=True, timeout=20)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
