#!/bin/bash
# Upgrades a box from a release archive that its maker has signed, and from no other.
#
#   sudo /opt/leukoscope/current/systemd/upgrade.sh ARCHIVE.tar.gz [options of install.sh]
#
# Beside the archive lie ARCHIVE.tar.gz.sha256 and ARCHIVE.tar.gz.sha256.sig (make bundle RELEASE_KEY=FILE). The maker's
# public key is /etc/leukoscope/release.pub, as `leukoscope model keygen` writes it. Nothing of the archive runs, and
# nothing is unpacked, before the signature and the hash are right; a version older than the one that runs is refused.
# Research and second opinion only: not a diagnosis.
set -euo pipefail

ROOT=${DESTDIR:-}
OPT=$ROOT/opt/leukoscope
KEY=$ROOT/etc/leukoscope/release.pub

fail() { echo "upgrade: $*" >&2; exit 1; }
case ${1:-} in
  -h | --help | '') sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; [ -n "${1:-}" ] || exit 2; exit 0 ;;
esac
ARCHIVE=$1
shift
[ "$(id -u)" = 0 ] || [ -n "$ROOT" ] || { echo "upgrade: run it with sudo" >&2; exit 2; }
command -v openssl >/dev/null || fail "openssl is missing: sudo apt install openssl"
[ -e "$KEY" ] || fail "there is no $KEY; put the public key of the maker there, or run the archive's own installer"
for file in "$ARCHIVE" "$ARCHIVE.sha256" "$ARCHIVE.sha256.sig"; do
  [ -f "$file" ] || fail "there is no $file; copy the archive with its .sha256 and .sha256.sig"
done

# On the box's own disk, where nobody can change them after they were checked.
WORK=$(rm -rf "$OPT"/unpack.*; mktemp -d "$OPT/unpack.XXXXXX")
trap 'rm -rf "$WORK"' EXIT
cp "$ARCHIVE" "$WORK/archive"
cp "$ARCHIVE.sha256" "$WORK/sha256"
cp "$ARCHIVE.sha256.sig" "$WORK/signature"

# The key's file is one line, `ed25519 BASE64 NAME`; openssl wants the same 32 bytes behind the DER head of RFC 8410.
read -r kind key _ <"$KEY"
[ "$kind" = ed25519 ] || fail "$KEY: it is not a key of \`leukoscope model keygen\`"
{ printf '\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00'; base64 -d <<<"$key"; } >"$WORK/key"
openssl pkeyutl -verify -pubin -keyform DER -inkey "$WORK/key" -rawin -in "$WORK/sha256" -sigfile "$WORK/signature" \
  >/dev/null 2>&1 || fail "$ARCHIVE.sha256: the signature is not that of the key in $KEY; nothing was changed"
read -r hash name <"$WORK/sha256"
[ "$(sha256sum <"$WORK/archive")" = "$hash  -" ] || fail "$ARCHIVE: it is not what was signed; copy it again"

# The signed line names the version too: leukoscope-VERSION-arm64.tar.gz
version=$(sed -n 's/^leukoscope-\([^-]*\)-arm64\.tar\.gz$/\1/p' <<<"$name")
runs=$("$OPT/current/venv/bin/leukoscope" --version | sed 's/^leukoscope //')
[ -n "$version" ] && [ "$(printf '%s\n%s\n' "$runs" "$version" | sort -V | tail -n 1)" = "$version" ] ||
  fail "$ARCHIVE: it holds version ${version:-unknown}, and $runs runs; an older one is not installed"
tar -xzf "$WORK/archive" -C "$WORK" --no-same-owner
bash "$WORK/leukoscope-$version-arm64/systemd/install.sh" "$@"
