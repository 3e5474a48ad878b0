#!/bin/bash
# Unpacks, once, a Debian 13 (trixie) tree for 64-bit ARM with Python in it, to run programs in by user-mode emulation.
#   sudo tests/board/arm64_root.sh FOLDER
# Nothing of it is run or set up, so it takes about a minute; what starts by itself needs build.sh.
set -euo pipefail
ROOT=${1:?usage: arm64_root.sh FOLDER}
HERE=$(cd "$(dirname "$0")" && pwd)
[ "$(id -u)" = 0 ] || { echo "arm64_root.sh: run it as root: debootstrap makes device nodes" >&2; exit 2; }
command -v debootstrap >/dev/null || { echo "arm64_root.sh: debootstrap is missing: apt install debootstrap" >&2; exit 2; }
. "$HERE/mirror.sh"
rm -rf "$ROOT.partial"
mkdir -p "$(dirname "$ROOT")"
debootstrap --arch=arm64 --foreign --variant=minbase --include=python3 trixie "$ROOT.partial" "$MIRROR"
for package in "$ROOT.partial"/var/cache/apt/archives/*.deb; do
  dpkg-deb -x "$package" "$ROOT.partial"
done
mkdir -p "$ROOT.partial"/{mnt,proc,sys}
mv "$ROOT.partial" "$ROOT"
