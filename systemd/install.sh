#!/bin/bash
# Installs Leukoscope on a box, or upgrades it in place; run it as often as you like.
#
#   sudo ./systemd/install.sh [--broker] [--log] [--jetson] [--no-start]
#
#   --broker    this box is its own MQTT broker (Mosquitto, from the system's packages)
#   --log       this box keeps its results in a database too (leukoscope-log.service)
#   --jetson    rights for a Jetson's CSI cameras
#   --no-start  install, and start nothing
#
# Each version has a folder of its own under /opt/leukoscope/versions; "current" points to the one that runs.
# A new version that does not become ready is taken back. Settings (/etc/leukoscope) and results
# (/var/lib/leukoscope) are never touched. Without internet, run it from a release archive (make bundle): the
# wheels lie beside it. Research and second opinion only: not a diagnosis.
set -euo pipefail

SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ROOT=${DESTDIR:-}      # another root, for an image that is being built: nothing is started there
OPT=$ROOT/opt/leukoscope
ETC=$ROOT/etc/leukoscope
UNITS=$ROOT/etc/systemd/system
STATE=$ROOT/var/lib/leukoscope
READY_S=${LEUKOSCOPE_READY_S:-180}   # the longest that a new version may take; a Pi needs about 15 s
KEPT=2                               # versions: the one that runs and the one before

say() { echo "install: $*"; }
fail() { echo "install: $*" >&2; exit 1; }

BROKER='' LOG='' JETSON='' START=yes
for option in "$@"; do
  case $option in
    --broker) BROKER=yes ;;
    --log) LOG=yes ;;
    --jetson) JETSON=yes ;;
    --no-start) START='' ;;
    -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" | sed '$d'; exit 0 ;;
    *) echo "install: unknown option $option; see --help" >&2; exit 2 ;;
  esac
done
[ "$(id -u)" = 0 ] || [ -n "$ROOT" ] || { echo "install: run it with sudo" >&2; exit 2; }
[ -z "$ROOT" ] || START=''
[ -z "$START" ] || [ -d /run/systemd/system ] || fail "systemd does not run here; use --no-start in an image"

check_machine() {
  PYTHON=${PYTHON:-python3}
  command -v "$PYTHON" >/dev/null || fail "python3 is missing: sudo apt install python3-venv"
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail "Python 3.10 or newer is needed, this is $("$PYTHON" -V)"
  "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || fail "python3-venv is missing: sudo apt install python3-venv"
  [ -z "$BROKER" ] || [ -n "$ROOT" ] || [ -n "$(PATH=$PATH:/usr/sbin command -v mosquitto)" ] ||
    fail "mosquitto is missing: sudo apt install mosquitto"
  local free_mb
  install -d "$OPT"
  free_mb=$(df --output=avail -m "$OPT" | tail -n 1)
  [ "$free_mb" -ge 1000 ] || fail "$free_mb MB free on the disk of $OPT; 1000 MB are needed"
}

make_user() {
  [ -z "$ROOT" ] || return 0
  getent passwd leukoscope >/dev/null ||
    useradd --system --user-group --home-dir /var/lib/leukoscope --no-create-home --shell /usr/sbin/nologin leukoscope
  local group
  for group in video render; do
    getent group $group >/dev/null || groupadd --system $group
    usermod --append --groups $group leukoscope
  done
}

# numpy 2 breaks system packages that were built for numpy 1, such as picamera2's on Debian 12.
numpy_of_system() {
  "$PYTHON" -I -c 'import numpy; print("numpy<2" if numpy.__version__[0] == "1" else "numpy>=2")' 2>/dev/null || echo 'numpy>=1.26'
}

# A virtual environment that sees the system's picamera2 and libcamera.
make_version() {
  local packages=("$SOURCE[log]") options=(--quiet --disable-pip-version-check --no-warn-script-location)
  if [ -d "$SOURCE/wheels" ]; then
    say "without internet, from $SOURCE/wheels"
    packages=("leukoscope[log]")
    options+=(--no-index --find-links "$SOURCE/wheels")
  fi
  NEW=$OPT/versions/$(date -u +%Y%m%d-%H%M%S)
  say "$NEW"
  rm -rf "$NEW"
  trap 'rm -rf "$NEW"' EXIT
  install -d "$NEW/models"
  "$PYTHON" -m venv --system-site-packages "$NEW/venv"
  "$NEW/venv/bin/python" -m pip install "${options[@]}" "$(numpy_of_system)" "${packages[@]}"
  install -m 644 "$SOURCE"/models/*.tflite "$NEW/models/"
  LEUKOSCOPE_MODEL=$(ls "$NEW"/models/*.tflite | head -n 1) "$NEW/venv/bin/leukoscope" model verify "$(ls "$NEW"/models/*.tflite | head -n 1)"
  if [ -e "$ETC/leukoscope.toml" ]; then
    "$NEW/venv/bin/leukoscope" check --config "$ETC/leukoscope.toml" ||
      fail "the new version does not read $ETC/leukoscope.toml; nothing was changed"
  fi
  trap - EXIT
}

install_settings() {
  install -d -m 755 "$ETC"
  [ -e "$ETC/leukoscope.toml" ] || install -m 644 "$SOURCE/systemd/leukoscope.toml" "$ETC/leukoscope.toml"
  install -m 644 "$SOURCE/systemd/leukoscope.toml" "$ETC/leukoscope.toml.example"
  [ -n "$ROOT" ] || install -d -m 750 -o leukoscope -g leukoscope "$STATE"
}

# The units lie with their version, so that a rollback brings the old ones back too.
collect_units() {
  install -d "$NEW/systemd"
  cp -r "$SOURCE"/systemd/. "$NEW/systemd/"
}

install_units() { # FOLDER of a version's systemd
  local from=$1 unit
  for unit in leukoscope.service leukoscope-log.service; do
    install -D -m 644 "$from/$unit" "$UNITS/$unit"
    rm -f "$UNITS/$unit.d/10-backoff.conf"
    ! new_systemd || install -D -m 644 "$from/drop-ins/backoff.conf" "$UNITS/$unit.d/10-backoff.conf"
  done
  [ -z "$JETSON" ] || install -D -m 644 "$from/drop-ins/jetson.conf" "$UNITS/leukoscope.service.d/20-jetson.conf"
}

new_systemd() { [ "$(systemctl --version 2>/dev/null | awk 'NR==1 {print int($2)}')" -ge 254 ] 2>/dev/null; }

install_broker() {
  [ -n "$BROKER" ] || return 0
  install -D -m 644 "$SOURCE/systemd/mosquitto-leukoscope.conf" "$ROOT/etc/mosquitto/conf.d/leukoscope.conf"
  install -D -m 644 "$SOURCE/systemd/drop-ins/mosquitto.conf" "$UNITS/mosquitto.service.d/leukoscope.conf"
  if [ -n "$START" ]; then
    systemctl daemon-reload
    systemctl --quiet enable mosquitto
    systemctl restart mosquitto
  fi
}

point_to() { # VERSION
  ln -sfn "versions/$(basename "$1")" "$OPT/current.new"
  mv -T "$OPT/current.new" "$OPT/current"
  ln -sfn current/models "$OPT/models"
  install -d "$ROOT/usr/local/bin"
  ln -sfn /opt/leukoscope/current/venv/bin/leukoscope "$ROOT/usr/local/bin/leukoscope"
}

restart_service() {
  systemctl daemon-reload
  systemctl --quiet enable leukoscope.service
  systemctl reset-failed leukoscope.service 2>/dev/null || true
  systemctl restart --no-block leukoscope.service
}

# Ready, and still ready a moment later with the same process.
wait_until_ready() {
  local end=$((SECONDS + READY_S)) process
  while [ $SECONDS -lt $end ]; do
    if systemctl --quiet is-active leukoscope.service; then
      process=$(systemctl show --property=MainPID --value leukoscope.service)
      sleep 3
      systemctl --quiet is-active leukoscope.service &&
        [ "$process" = "$(systemctl show --property=MainPID --value leukoscope.service)" ] && return 0
    fi
    sleep 1
  done
  return 1
}

why() { journalctl --unit=leukoscope --lines=8 --no-pager --output=cat 2>/dev/null | sed 's/^/install:   /' >&2 || true; }

start_service() { # the version before, or ""; whether that one was ready
  local old=$1 was_ready=$2
  restart_service
  say "waiting until it is ready (at most $READY_S s)"
  if wait_until_ready; then
    say "ready: $(systemctl show --property=StatusText --value leukoscope.service)"
    return
  fi
  why
  if [ -n "$old" ] && [ -n "$was_ready" ]; then
    point_to "$old"
    install_units "$old/systemd"
    start_log # from the old version too
    restart_service
    wait_until_ready || fail "the new version did not become ready, and the old one does not either: leukoscope doctor"
    rm -rf "$NEW"
    fail "the new version did not become ready; $(basename "$old") runs again"
  fi
  fail "installed, but not ready yet; it goes on trying. Find out why: sudo leukoscope doctor --config $ETC/leukoscope.toml"
}

start_log() {
  systemctl daemon-reload
  [ -n "$LOG" ] && systemctl --quiet enable leukoscope-log.service
  if systemctl --quiet is-enabled leukoscope-log.service 2>/dev/null; then
    systemctl restart leukoscope-log.service
  fi
}

forget_old_versions() { # never the one that runs, nor the one before it
  local current version kept=1
  current=$(readlink -f "$OPT/current")
  for version in $(ls -d "$OPT"/versions/* | sort -r); do
    [ "$version" != "$current" ] || continue
    kept=$((kept + 1))
    [ $kept -le $KEPT ] || rm -rf "$version"
  done
}

check_machine
make_user
OLD=$([ ! -e "$OPT/current" ] || readlink -f "$OPT/current")
WAS_READY=$([ -z "$START" ] || ! systemctl --quiet is-active leukoscope.service || echo yes)
make_version
collect_units
install_settings
install_broker
install_units "$NEW/systemd"
point_to "$NEW"
if [ -n "$START" ]; then
  start_log # first: what it does not hear, it does not store
  start_service "$OLD" "$WAS_READY"
fi
forget_old_versions
say "done: leukoscope doctor --config /etc/leukoscope/leukoscope.toml"
