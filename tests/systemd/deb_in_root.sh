#!/bin/bash
# The Debian package as apt treats it: installed, upgraded, removed and purged in a clean Debian root.
#
#   tests/systemd/deb_in_root.sh FOLDER [SUITE]
#
#   FOLDER   the root is FOLDER/SUITE: made by mmdebstrap where it is not there yet (three minutes), and used again
#   SUITE    of Debian: bookworm (the default) or trixie
#
# As root, with the package mmdebstrap. systemd does not run in it: units are enabled, not started.
set -euo pipefail
[ $# -ge 1 ] && [ "$1" != --help ] || { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
SUITE=${2:-bookworm}
ROOT=$(mkdir -p "$1" && cd "$1" && pwd)/$SUITE
[ "$(id -u)" = 0 ] || { echo "deb_in_root: run it as root" >&2; exit 2; }
# What is mounted below is seen by this process and its children alone, and goes with them.
[ -n "${IN_OWN_MOUNTS:-}" ] || IN_OWN_MOUNTS=yes exec unshare --mount -- "$0" "$@"

say() { echo "deb_in_root: $*"; }
fail() { echo "deb_in_root: FAILED: $*" >&2; exit 1; }
inside() {
  env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive PIP_CERT="$AUTHORITIES" PIP_ROOT_USER_ACTION=ignore chroot "$ROOT" "$@"
}
apt() { inside apt-get -qq -o=Dpkg::Use-Pty=0 --yes "$@" >>"$LOG" 2>&1 || { tail -n 20 "$LOG" >&2; fail "apt-get $*"; }; }
version() { inside readlink /opt/leukoscope/current; }

if [ ! -e "$ROOT/etc/debian_version" ]; then
  command -v mmdebstrap >/dev/null || { echo "deb_in_root: mmdebstrap is missing: apt install mmdebstrap" >&2; exit 2; }
  # This machine's own list of sources, if it is of the same suite.
  sources=()
  if [ "$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" = "$SUITE" ]; then
    sources=(/etc/apt/sources.list.d/*.sources)
    [ -e "${sources[0]}" ] || sources=(/etc/apt/sources.list)
  fi
  say "making a clean root of Debian $SUITE in $ROOT"
  mmdebstrap --quiet --variant=minbase --include=ca-certificates "$SUITE" "$ROOT" "${sources[@]}"
fi
# Nothing of this machine can be written from inside: what it needs of it is copied.
mount -t proc proc "$ROOT/proc"
mount -t tmpfs -o mode=755 tmpfs "$ROOT/dev"
mknod -m 666 "$ROOT/dev/null" c 1 3
mknod -m 666 "$ROOT/dev/zero" c 1 5
mknod -m 666 "$ROOT/dev/random" c 1 8
mknod -m 666 "$ROOT/dev/urandom" c 1 9
ln -s /proc/self/fd "$ROOT/dev/fd"
cp --remove-destination /etc/resolv.conf "$ROOT/etc/resolv.conf"
AUTHORITIES=/tmp/authorities.crt   # those that this machine trusts, for pip
cat "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" >"$ROOT$AUTHORITIES"

build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
LOG=$ROOT/tmp/apt.log
: >"$LOG"
DEB_VERSION=0.1.0+1 "$SOURCE/systemd/deb.sh" "$build"
DEB_VERSION=0.1.0+2 "$SOURCE/systemd/deb.sh" "$build"
cp "$build"/*.deb "$ROOT/tmp/"
apt update
# Nothing of an earlier run.
inside apt-get -qq --yes purge leukoscope >>"$LOG" 2>&1 || true

say "installing"
apt install --no-install-recommends /tmp/leukoscope_0.1.0+1_all.deb mosquitto
[ "$(inside leukoscope --version | cut -d' ' -f1)" = leukoscope ] || fail "the command does not run"
inside leukoscope check --config /etc/leukoscope/leukoscope.toml
inside leukoscope model verify mobilenet_m_0_25_128
for unit in leukoscope leukoscope-log leukoscope-settle; do
  inside systemctl --quiet is-enabled $unit.service || fail "$unit.service is not enabled"
done
inside test -e /etc/mosquitto/conf.d/leukoscope.conf || fail "the box is not its own broker"
inside getent passwd leukoscope >/dev/null || fail "there is no user leukoscope"
first=$(version)

say "upgrading, with a setting of one's own and a result"
sed -i '1i # a line of one'"'"'s own' "$ROOT/etc/leukoscope/leukoscope.toml"
touch "$ROOT/var/lib/leukoscope/kept"
apt install --no-install-recommends /tmp/leukoscope_0.1.0+2_all.deb
[ "$(version)" != "$first" ] || fail "the version before still runs"
inside test -d "/opt/leukoscope/$first" || fail "there is no version to go back to"
inside leukoscope check --config /etc/leukoscope/leukoscope.toml
head -n 1 "$ROOT/etc/leukoscope/leukoscope.toml" | grep -q "one's own" || fail "the settings were changed"

say "removing"
apt remove leukoscope
for path in /opt/leukoscope /usr/share/leukoscope /usr/local/bin/leukoscope /etc/systemd/system/leukoscope.service; do
  ! inside test -e "$path" || fail "$path stayed"
done
for path in /etc/leukoscope/leukoscope.toml /var/lib/leukoscope/kept /etc/default/leukoscope; do
  inside test -e "$path" || fail "$path is gone: settings and results stay until purge"
done

say "purging"
apt purge leukoscope
left=$(inside find / -xdev '(' -path /proc -o -path /dev -o -path /tmp ')' -prune -o -iname '*leukoscope*' -print)
[ -z "$left" ] || fail "left: $left"
! inside getent passwd leukoscope >/dev/null || fail "the user stayed"
rm -f "$ROOT"/tmp/leukoscope_*.deb
say "installed, upgraded, removed and purged on Debian $(cat "$ROOT/etc/debian_version"): 1 passed, 0 failed"
