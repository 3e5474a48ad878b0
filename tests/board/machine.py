"""The virtual board: a QEMU of its own, its disk a copy of the built one, reached over ssh."""

import io
import shlex
import socket
import subprocess
import tarfile
import time
from pathlib import Path

BOOT_TIMEOUT_S = 900.0
SSH_RETRY_S = 2.0


class BoardError(Exception):
    """The board did not do what was asked."""


class Board:
    """A board that can be switched on and off.

    Args:
        built: the folder that build.sh has filled.
        work: where its disk and the console's text go.
        bundle: the release archive; the board sees it as its second disk.
    """

    def __init__(self, built: Path, work: Path, bundle: Path):
        self._built, self._work, self._bundle = built, work, bundle
        self._disk = work / "disk.img"
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        if not self._disk.exists():
            copy = ["cp", "--sparse=always", "--reflink=auto", str(built / "disk.img"), str(self._disk)]
            subprocess.run(copy, check=True)

    def switch_on(self) -> float:
        """Start it and wait until it can be logged in; gives the seconds that took."""
        began = time.monotonic()
        command = [
            *("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "2048"),
            *("-accel", "tcg,thread=multi", "-display", "none", "-monitor", "none"),
            *("-serial", f"file:{self._work}/console.txt"),
            *("-kernel", str(self._built / "vmlinuz"), "-initrd", str(self._built / "initrd.img")),
            *("-append", "root=/dev/vda rw console=ttyAMA0 loglevel=4"),
            *("-drive", f"if=none,id=disk,file={self._disk},format=raw,cache=writeback"),
            *("-device", "virtio-blk-pci,drive=disk"),
            *("-drive", f"if=none,id=bundle,file={self._bundle},format=raw,readonly=on"),
            *("-device", "virtio-blk-pci,drive=bundle"),
            # restrict: nothing outside can be reached; only this machine may log in
            *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self._port}-:22"),
            *("-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"),
        ]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        while time.monotonic() - began < BOOT_TIMEOUT_S:
            if self._process.poll() is not None:
                raise BoardError(f"QEMU ended with {self._process.returncode}")
            if self.run("true", timeout_s=60, check=False).returncode == 0:
                return time.monotonic() - began
            time.sleep(SSH_RETRY_S)
        raise BoardError(f"no login within {BOOT_TIMEOUT_S} s; see {self._work}/console.txt")

    def cut_power(self) -> None:
        """What was not flushed to the disk is gone, as with a pulled plug."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def run(
        self, script: str, timeout_s: float = 120.0, check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Run a shell script as root on the board.

        Raises:
            BoardError: it failed, where that is checked, or took too long.
        """
        command = [*self._ssh(), "bash -c " + shlex.quote(script)]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s
            )
        except subprocess.TimeoutExpired as error:
            if not check:
                return subprocess.CompletedProcess(command, 255, "", "timed out")
            raise BoardError(f"not done within {timeout_s:.0f} s: {script}") from error
        if check and done.returncode != 0:
            raise BoardError(
                f"{script}\n{done.stdout[-2000:]}{done.stderr[-3000:]}(status {done.returncode})"
            )
        return done

    def _ssh(self) -> list[str]:
        known = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=30")
        shared = ("ControlMaster=auto", f"ControlPath={self._work}/ssh", "ControlPersist=600")
        options = [part for option in (*known, *shared) for part in ("-o", option)]
        key = str(self._built / "key")
        return ["ssh", "-q", "-i", key, "-p", str(self._port), *options, "root@127.0.0.1"]

    def send(self, files: list[Path], folder: str) -> None:
        """Copy files into a folder of the board."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for file in files:
                tar.add(file, file.name)
        unpack = f"mkdir -p {folder} && tar -x --no-same-owner -C {folder}"
        subprocess.run([*self._ssh(), unpack], input=archive.getvalue(), check=True, timeout=300)

    def out(self, script: str, timeout_s: float = 120.0) -> str:
        """What a script prints."""
        return self.run(script, timeout_s).stdout.strip()

    def wait_for(self, script: str, timeout_s: float, every_s: float = 2.0) -> float:
        """Run a script until it succeeds; gives the seconds that took."""
        began = time.monotonic()
        while self.run(script, timeout_s=120, check=False).returncode != 0:
            if time.monotonic() - began > timeout_s:
                raise BoardError(f"not within {timeout_s:.0f} s: {script}")
            time.sleep(every_s)
        return time.monotonic() - began
