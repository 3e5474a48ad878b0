#!/bin/bash
# Builds a Debian package of the box; its installation does what systemd/install.sh does.
#
#   systemd/deb.sh FOLDER [ARCHIVE.tar.gz]
#
#   FOLDER    gives FOLDER/leukoscope_VERSION_all.deb: the packages of box.lock come from PyPI when it is installed
#   ARCHIVE   of make bundle: gives FOLDER/leukoscope_VERSION_arm64.deb, which needs no internet
set -euo pipefail
SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ $# -ge 1 ] && [ "$1" != --help ] || { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
command -v dpkg-deb >/dev/null || { echo "deb: dpkg-deb is missing; build it on Debian, Ubuntu or Raspberry Pi OS" >&2; exit 1; }
OUT=$(mkdir -p "$1" && cd "$1" && pwd)
ARCHIVE=${2:-}
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
# Of the project and the last commit, so that a later one is an upgrade; or as it is given.
VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$SOURCE/pyproject.toml")
VERSION=${DEB_VERSION:-$VERSION+$(git -C "$SOURCE" log -1 --format=%cd.%h --date=format:%Y%m%d.%H%M%S)}

ROOT=$WORK/package
SHARE=$ROOT/usr/share/leukoscope
DOC=$ROOT/usr/share/doc/leukoscope
mkdir -p "$SHARE" "$DOC" "$ROOT/etc/default" "$ROOT/DEBIAN"
if [ -n "$ARCHIVE" ]; then
  tar -xzf "$ARCHIVE" -C "$SHARE" --strip-components=1
  ARCHITECTURE=arm64 PACKAGES='Holds the wheels that it needs; it is installed without internet.'
else
  git -C "$SOURCE" archive HEAD edge train export models systemd docs pyproject.toml README.md LICENSE CHANGELOG.md |
    tar -x -C "$SHARE"
  ARCHITECTURE=all PACKAGES='Its Python packages come from PyPI, with the sha256 of each in a lock file.'
fi
cat >"$ROOT/etc/default/leukoscope" <<'END'
# Options of /usr/share/leukoscope/systemd/install.sh when the package is installed or upgraded; see its --help.
LEUKOSCOPE_INSTALL='--broker --log'
END
echo /etc/default/leukoscope >"$ROOT/DEBIAN/conffiles"
cp "$SOURCE/CHANGELOG.md" "$DOC/"
{ echo 'Leukoscope, https://www.apache.org/licenses/LICENSE-2.0'; echo; cat "$SOURCE/LICENSE"; } >"$DOC/copyright"
chmod -R u=rwX,go=rX "$ROOT"
for script in postinst prerm postrm; do
  install -m 755 "$SOURCE/systemd/debian/$script" "$ROOT/DEBIAN/$script"
done
sed -e "s|@VERSION@|$VERSION|" -e "s|@ARCHITECTURE@|$ARCHITECTURE|" -e "s|@PACKAGES@|$PACKAGES|" \
  -e "s|@KILOBYTES@|$(du -sk "$ROOT" | cut -f1)|" "$SOURCE/systemd/debian/control" >"$ROOT/DEBIAN/control"
FILE=$OUT/leukoscope_${VERSION}_$ARCHITECTURE.deb
dpkg-deb --root-owner-group -Zxz --build "$ROOT" "$FILE" >/dev/null
echo "deb: $FILE, $(du -k "$FILE" | cut -f1) KB"
