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
# If a new version does not become ready, the one before runs again, also after a power cut while the installer
# waits. Settings (/etc/leukoscope) and results (/var/lib/leukoscope) are never changed. Packages are installed
# from a lock file with their hashes. Without internet, run it from a release archive (make bundle), which has
# the wheels. Research and second opinion only: not a diagnosis.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail

SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ROOT=${DESTDIR:-}      # another root, for an image that is being built: nothing is started there
# … unless the systemctl that serves that root is named.
if [ -n "${LEUKOSCOPE_SYSTEMCTL:-}" ]; then systemctl() { "$LEUKOSCOPE_SYSTEMCTL" "$@"; }; fi
OPT=$ROOT/opt/leukoscope
ETC=$ROOT/etc/leukoscope
UNITS=$ROOT/etc/systemd/system
STATE=$ROOT/var/lib/leukoscope
READY_S=${LEUKOSCOPE_READY_S:-180}   # the longest that a new version may take; a Pi needs about 15 s
NEEDED_MB=2000                       # three versions of about 550 MB while one is installed, and room for results
COMPLETE=.complete                   # in a version's folder: installed, verified and on the disk
UNTRIED=$OPT/untried                 # names the version to go back to, while the new one has not become ready

say() { echo "install: $*"; }
fail() { echo "install: $*" >&2; exit 1; }

BROKER='' LOG='' JETSON='' START=yes SETTLE=''
for option in "$@"; do
  case $option in
    --broker) BROKER=yes ;;
    --log) LOG=yes ;;
    --jetson) JETSON=yes ;;
    --no-start) START='' ;;
    --settle) SETTLE=yes ;;   # at boot, by leukoscope-settle.service
    -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "install: unknown option $option; see --help" >&2; exit 2 ;;
  esac
done
[ "$(id -u)" = 0 ] || [ -n "$ROOT" ] || { echo "install: run it with sudo" >&2; exit 2; }
[ -z "$ROOT" ] || [ -n "${LEUKOSCOPE_SYSTEMCTL:-}" ] || START=''
[ -z "$START" ] || [ -n "$ROOT$SETTLE" ] || [ -d /run/systemd/system ] || fail "systemd does not run here; use --no-start in an image"

check_machine() {
  local free_mb missing=()   # everything that is missing is told at once
  PYTHON=${PYTHON:-python3}
  "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
  [ -z "$BROKER" ] || [ -n "$ROOT" ] || [ -n "$(PATH=$PATH:/usr/sbin command -v mosquitto)" ] || missing+=(mosquitto)
  [ ${#missing[@]} = 0 ] || fail "missing here; type: sudo apt install ${missing[*]}"
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail "Python 3.10 or newer is needed, this is $("$PYTHON" -V)"
  install -d "$OPT"
  free_mb=$(df --output=avail -m "$OPT" | tail -n 1)
  [ "$free_mb" -ge $NEEDED_MB ] ||
    fail "$free_mb MB free on the disk of $OPT; $NEEDED_MB MB are needed; delete files, or: sudo apt clean"
}

# One installer at a time; the lock ends with this process, however it ends.
take_lock() {
  exec 9>"$OPT/.lock"
  flock --nonblock 9 || fail "another installation is running"
}

is_complete() { [ -e "$1/$COMPLETE" ]; }

# Before versions were marked, the one that ran was whole.
mark_version_that_runs() {
  local current
  [ -e "$OPT/current" ] || return 0
  current=$(readlink -f "$OPT/current")
  [ -e "$UNTRIED" ] || [ ! -x "$current/venv/bin/leukoscope" ] || touch "$current/$COMPLETE"
}

# What a power cut or a kill left half installed.
remove_incomplete_versions() {
  local version
  for version in "$OPT"/versions/*; do
    [ -d "$version" ] && ! is_complete "$version" && [ "$version" != "$(readlink -f "$OPT/current")" ] || continue
    say "removing $version, which was not completely installed"
    rm -rf "$version"
  done
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
lock_file() {
  [ -z "${LEUKOSCOPE_LOCK:-}" ] || { echo "$LEUKOSCOPE_LOCK"; return; }   # of your own, for an image
  case $("$PYTHON" -I -c 'import numpy; print(numpy.__version__[0])' 2>/dev/null) in
    1) echo "$SOURCE/systemd/box-numpy1.lock" ;;
    *) echo "$SOURCE/systemd/box.lock" ;;
  esac
}

# pip, with a count of the packages while it works, if this is a terminal. Its errors are shown in both cases.
counted() { # LOCK PIP…
  local lock=$1 all line n=0 told='' status=0
  shift
  [ -t 1 ] || { "$@"; return; }
  all=$(grep -c '^[a-zA-Z0-9_.-]*==' "$lock" || true)
  # The last --quiet or --verbose adds up: one --verbose takes the --quiet of the options back.
  "$@" --verbose 2>&1 | while IFS= read -r line; do
    case $told$line in
      Collecting\ *) n=$((n + 1)); printf '\r\033[2Kinstall: package %d of %d: %.50s' $n "$all" "${line#Collecting }" ;;
      Installing\ *) printf '\r\033[2Kinstall: unpacking %d packages' $n ;;
      WARNING:*) printf '\r\033[2K%s\n' "$line" ;;
      ERROR:*) told=ERROR:; printf '\r\033[2K%s\n' "$line" ;;   # and all that comes after it
    esac
  done || status=$?
  printf '\r\033[2K'
  return $status
}

# A virtual environment that sees the system's picamera2 and libcamera.
make_version() {
  local project=$SOURCE options=(--quiet --disable-pip-version-check --no-warn-script-location) pip lock model
  lock=$(lock_file)
  if [ -d "$SOURCE/wheels" ]; then
    say "without internet, from $SOURCE/wheels"
    (cd "$SOURCE" && sha256sum --quiet --check wheels.sha256) || fail "a wheel of the archive is damaged; copy it again"
    project=$(ls "$SOURCE"/wheels/leukoscope-*.whl)
    options+=(--no-index --find-links "$SOURCE/wheels")
  fi
  NEW=$OPT/versions/$(date -u +%Y%m%d-%H%M%S)
  while [ -e "$NEW" ]; do NEW=$NEW.1; done   # a clock that was set back
  say "into $NEW"
  install -d "$NEW/models"
  "$PYTHON" -m venv --system-site-packages "$NEW/venv"
  pip=("$NEW/venv/bin/python" -m pip install "${options[@]}")
  say "installing the packages of $(basename "$lock"): 1 to 5 minutes"
  # No package's own code runs here as root.
  counted "$lock" "${pip[@]}" --require-hashes --only-binary=:all: --requirement "$lock" ||
    fail "the packages could not be installed, see above. No internet here? docs/install.md, \"Without internet\""
  "${pip[@]}" --no-deps --no-build-isolation "$project"   # setuptools is in the lock
  install -m 644 "$SOURCE"/models/*.tflite "$NEW/models/"
  install -d "$NEW/models/field"
  install -m 644 "$SOURCE"/models/field/*.tflite "$NEW/models/field/"
  for model in "$NEW"/models/*.tflite; do
    "$NEW/venv/bin/leukoscope" model verify "$model"
  done
  if [ -e "$ETC/leukoscope.toml" ]; then
    # With the new version's own default model: that of the version that runs may have another name.
    model=$NEW/models/$("$NEW/venv/bin/python" -c 'from edge.model.installed import DEFAULT_MODEL; print(DEFAULT_MODEL)')
    LEUKOSCOPE_MODEL=$model "$NEW/venv/bin/leukoscope" check --config "$ETC/leukoscope.toml" ||
      fail "the new version does not read $ETC/leukoscope.toml; nothing was changed"
  fi
  install -d "$NEW/systemd"
  cp -r "$SOURCE"/systemd/. "$NEW/systemd/"   # so that a rollback brings the old units back too
  sync --file-system "$NEW"
  touch "$NEW/$COMPLETE"
  sync "$NEW/$COMPLETE" "$NEW" "$OPT/versions"
}

install_settings() {
  install -d -m 755 "$ETC"
  [ -e "$ETC/leukoscope.toml" ] || install -m 644 "$SOURCE/systemd/leukoscope.toml" "$ETC/leukoscope.toml"
  install -m 644 "$SOURCE/systemd/leukoscope.toml" "$ETC/leukoscope.toml.example"
  [ -n "$ROOT" ] || install -d -m 750 -o leukoscope -g leukoscope "$STATE"
}

install_units() { # FOLDER of a version's systemd
  local from=$1 unit
  for unit in leukoscope.service leukoscope-log.service leukoscope-web.service leukoscope-settle.service; do
    [ -e "$from/$unit" ] || continue
    install -D -m 644 "$from/$unit" "$UNITS/$unit"
    rm -f "$UNITS/$unit.d/10-backoff.conf"
    [ $unit != leukoscope-settle.service ] && new_systemd || continue
    install -D -m 644 "$from/drop-ins/backoff.conf" "$UNITS/$unit.d/10-backoff.conf"
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

point_to() { # VERSION; durable: after a power cut there is this one or the one before
  ln -sfn "versions/$(basename "$1")" "$OPT/current.new"
  mv -T "$OPT/current.new" "$OPT/current"
  ln -sfn current/models "$OPT/models"
  install -d "$ROOT/usr/local/bin"
  ln -sfn /opt/leukoscope/current/venv/bin/leukoscope "$ROOT/usr/local/bin/leukoscope"
  sync "$OPT"
}

# From here until the new version is ready, a boot or the next installation goes back to this one.
note_untried() { # VERSION to go back to, or ""
  [ -n "$1" ] || return 0
  basename "$1" >"$UNTRIED.new"
  sync "$UNTRIED.new"
  mv "$UNTRIED.new" "$UNTRIED"
  sync "$OPT"
}

note_tried() {
  rm -f "$UNTRIED"
  sync "$OPT"
}

go_back() { # VERSION
  point_to "$1"
  install_units "$1/systemd"
  sync "$UNITS"
  note_tried
}

# An earlier installation was interrupted before its version had become ready.
settle() {
  local before
  [ -e "$UNTRIED" ] || return 0
  before=$OPT/versions/$(cat "$UNTRIED")
  if is_complete "$before"; then
    say "the installation before was interrupted; $(basename "$before") runs again"
    go_back "$before"
  else
    note_tried
  fi
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
    note_tried
    say "ready: $(systemctl show --property=StatusText --value leukoscope.service)"
    return
  fi
  why
  if [ -n "$old" ] && [ -n "$was_ready" ]; then
    go_back "$old"
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

forget_old_versions() { # all but the one that runs and the one that ran before
  local version
  for version in "$OPT"/versions/*; do
    [ "$version" != "$NEW" ] && [ "$version" != "$OLD" ] || continue
    rm -rf "$version"
  done
}

if [ -n "$SETTLE" ]; then
  take_lock
  settle
  exit 0
fi
check_machine
take_lock
make_user
mark_version_that_runs
settle
remove_incomplete_versions
OLD=$([ ! -e "$OPT/current" ] || readlink -f "$OPT/current")
WAS_READY=$([ -z "$START" ] || ! systemctl --quiet is-active leukoscope.service || echo yes)
make_version
install_settings
install_broker
[ -z "$START" ] || note_untried "$OLD"
install_units "$NEW/systemd"
point_to "$NEW"
if [ -n "$START" ]; then
  systemctl --quiet enable leukoscope-settle.service
  start_log # first: what it does not hear, it does not store
  start_service "$OLD" "$WAS_READY"
fi
forget_old_versions
say "done. What to do next (docs/start.md):"
cat <<END
  is everything well?   sudo leukoscope doctor --config /etc/leukoscope/leukoscope.toml
  your camera           sudo nano /etc/leukoscope/leukoscope.toml      # [camera] source
  the page              sudo systemctl enable --now leukoscope-web     # http://127.0.0.1:8080 on this box
END
