#!/bin/bash
# Collects all that a box without internet needs into one archive: the project, its model and the wheels for
# 64-bit ARM of Python 3.10 (JetPack 6), 3.11 (Debian 12) and 3.13 (Debian 13).
#   systemd/bundle.sh FOLDER      gives FOLDER/leukoscope-VERSION-arm64.tar.gz
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

mkdir -p "$WORK/source"
git -C "$SOURCE" archive HEAD edge train export models systemd docs pyproject.toml README.md LICENSE CHANGELOG.md |
  tar -x -C "$WORK/source"
"${PIP[@]}" wheel --no-deps --wheel-dir "$WORK/wheels" "$WORK/source"
WHEEL=$(ls "$WORK"/wheels/leukoscope-*.whl)
VERSION=$(basename "$WHEEL" | cut -d- -f2)

for python in 3.10 3.11 3.13; do
  # The system packages of the older two are built for numpy 1; see install.sh.
  [ $python = 3.13 ] && numpy='numpy>=2' || numpy='numpy<2'
  echo "bundle: wheels for Python $python"
  "${PIP[@]}" download --only-binary=:all: "${PLATFORMS[@]}" --python-version $python --implementation cp \
    --dest "$WORK/wheels" "$numpy" "$WHEEL[log]"
done
# pip looks at this machine's Python where a package asks for another only in some versions.
"${PIP[@]}" download --only-binary=:all: --no-deps --platform any --python-version 3.10 --dest "$WORK/wheels" 'tomli>=2'

NAME=leukoscope-$VERSION-arm64
mkdir "$WORK/$NAME"
cp -r "$WORK/source/." "$WORK/wheels" "$WORK/$NAME/"
tar -C "$WORK" --owner=0 --group=0 -czf "$OUT/$NAME.tar.gz" "$NAME"
echo "bundle: $OUT/$NAME.tar.gz, $(du -m "$OUT/$NAME.tar.gz" | cut -f1) MB"
