#!/bin/bash
# Collects all that a box without internet needs into one archive: the project, its model and the wheels for
# 64-bit ARM of Python 3.10 (JetPack 6), 3.11 (Debian 12) and 3.13 (Debian 13).
#   systemd/bundle.sh FOLDER      gives FOLDER/leukoscope-VERSION-arm64.tar.gz and its .sha256
# With RELEASE_KEY=FILE (a private key of `leukoscope model keygen`) its signature too, for upgrade.sh: .sha256.sig
set -euo pipefail
SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
OUT=$(mkdir -p "${1:?usage: bundle.sh FOLDER}" && cd "$1" && pwd)
PYTHON=${PYTHON:-python3}
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
# ai-edge-litert needs glibc 2.27; all three systems have 2.35 or newer.
PLATFORMS=(--platform manylinux2014_aarch64 --platform manylinux_2_17_aarch64 --platform manylinux_2_24_aarch64)
PLATFORMS+=(--platform manylinux_2_26_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_28_aarch64)
PIP=("$PYTHON" -m pip --quiet --quiet --disable-pip-version-check)

# pip reads a lock's markers with this machine's Python; what they say of the box's is worked out here.
markers() { # PYTHON VERSION, the lock on standard input
  "$PYTHON" -c '
import sys
from pip._vendor.packaging.markers import Marker
box = {"python_version": sys.argv[1], "python_full_version": sys.argv[1] + ".0", "sys_platform": "linux",
       "platform_machine": "aarch64", "implementation_name": "cpython", "platform_python_implementation": "CPython"}
for block in sys.stdin.read().replace("\\\n", "\0").splitlines():
    first, *hashes = block.split("\0")
    name, _, marker = first.partition(" ; ")
    if not marker or Marker(marker).evaluate(box):
        print("\\\n".join([name + " ", *hashes]))
' "$1"
}

mkdir -p "$WORK/source"
git -C "$SOURCE" archive HEAD edge train export models systemd docs pyproject.toml README.md LICENSE CHANGELOG.md |
  tar -x -C "$WORK/source"
"${PIP[@]}" wheel --no-deps --wheel-dir "$WORK/wheels" "$WORK/source"
WHEEL=$(ls "$WORK"/wheels/leukoscope-*.whl)
VERSION=$(basename "$WHEEL" | cut -d- -f2)

for python in 3.10 3.11 3.13; do
  # The system packages of the older two are built for numpy 1; see install.sh.
  [ $python = 3.13 ] && lock=box.lock || lock=box-numpy1.lock
  echo "bundle: wheels for Python $python"
  "${PIP[@]}" download --only-binary=:all: --no-deps --require-hashes "${PLATFORMS[@]}" --python-version $python \
    --implementation cp --dest "$WORK/wheels" --requirement <(markers $python <"$SOURCE/systemd/$lock")
done
(cd "$WORK" && sha256sum wheels/*.whl) >"$WORK/wheels.sha256"

NAME=leukoscope-$VERSION-arm64
mkdir "$WORK/$NAME"
cp -r "$WORK/source/." "$WORK/wheels" "$WORK/wheels.sha256" "$WORK/$NAME/"
tar -C "$WORK" --owner=0 --group=0 -czf "$OUT/$NAME.tar.gz" "$NAME"
(cd "$OUT" && sha256sum "$NAME.tar.gz") >"$OUT/$NAME.tar.gz.sha256"
rm -f "$OUT/$NAME.tar.gz.sha256.sig"   # of an archive before
[ -z "${RELEASE_KEY:-}" ] || openssl pkeyutl -sign -inkey "$RELEASE_KEY" -rawin -in "$OUT/$NAME.tar.gz.sha256" \
  -out "$OUT/$NAME.tar.gz.sha256.sig"
echo "bundle: $OUT/$NAME.tar.gz, $(du -m "$OUT/$NAME.tar.gz" | cut -f1) MB"
