#!/bin/sh
# Runs Python in a Debian arm64 root under user-mode emulation, in a mount namespace of its own: the root is left as it is.
#   unshare --mount tests/board/arm64.sh ROOT QEMU CPU PART FEATURES CODE WHEELS CELLS WORK python-arguments…
set -eu
root=$1 qemu=$2 cpu=$3 part=$4 features=$5 code=$6 wheels=$7 cells=$8 work=$9
shift 9
mount --make-rprivate /
mount -t tmpfs tmpfs "$root/mnt"
for pair in "code:$code" "wheels:$wheels" "cells:$cells" "work:$work"; do
  mkdir "$root/mnt/${pair%%:*}"
  mount --bind "${pair#*:}" "$root/mnt/${pair%%:*}"
done
cp "$qemu" "$root/mnt/qemu"
# The emulator hands over this machine's own /proc/cpuinfo and /sys, and XNNPACK, which looks there for an ARM
# processor and finds none, ends in a segmentation fault.
mount -t tmpfs tmpfs "$root/proc"
mount -t tmpfs tmpfs "$root/sys"
mkdir -p "$root/sys/devices/system/cpu"
echo 0 >"$root/sys/devices/system/cpu/possible"
echo 0 >"$root/sys/devices/system/cpu/present"
echo 255 >"$root/sys/devices/system/cpu/kernel_max"
printf 'processor\t: 0\nFeatures\t: %s\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: %s\nCPU revision\t: 3\n' \
  "$features" "$part" >"$root/proc/cpuinfo"
cd "$root"
exec chroot "$root" /mnt/qemu -cpu "$cpu" -E PYTHONPATH=/mnt/code:/mnt/wheels -E PYTHONDONTWRITEBYTECODE=1 \
  /usr/bin/python3 "$@"
