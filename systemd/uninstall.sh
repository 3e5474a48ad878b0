#!/bin/bash
# Removes Leukoscope from a box. Results, settings and their user stay, unless told otherwise.
#
#   sudo ./systemd/uninstall.sh [--purge]
#
#   --purge   remove results that wait, the results database, settings and the user too
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail

ROOT=${DESTDIR:-}
PURGE=''
case ${1:-} in
  '') ;;
  --purge) PURGE=yes ;;
  -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
  *) echo "uninstall: unknown option $1; see --help" >&2; exit 2 ;;
esac
[ "$(id -u)" = 0 ] || [ -n "$ROOT" ] || { echo "uninstall: run it with sudo" >&2; exit 2; }

UNITS=$ROOT/etc/systemd/system
BROKER=$ROOT/etc/mosquitto/conf.d/leukoscope.conf

for unit in leukoscope.service leukoscope-log.service leukoscope-web.service leukoscope-settle.service; do
  if [ -z "$ROOT" ] && [ -e "$UNITS/$unit" ]; then
    systemctl --quiet disable --now $unit
  fi
  rm -rf "${UNITS:?}/$unit" "${UNITS:?}/$unit.d"
done
if [ -e "$BROKER" ]; then
  rm -f "$BROKER" "$UNITS/mosquitto.service.d/leukoscope.conf"
  [ -n "$ROOT" ] || { systemctl daemon-reload && systemctl try-restart mosquitto.service; }
fi
rm -rf "$ROOT/opt/leukoscope" "$ROOT/usr/local/bin/leukoscope"
[ -n "$ROOT" ] || systemctl daemon-reload

if [ -n "$PURGE" ]; then
  rm -rf "$ROOT/var/lib/leukoscope" "$ROOT/var/lib/leukoscope-log" "$ROOT/etc/leukoscope"
  if [ -z "$ROOT" ] && getent passwd leukoscope >/dev/null; then userdel leukoscope; fi
  echo "uninstall: Leukoscope, its results and its settings are gone"
else
  echo "uninstall: Leukoscope is gone; results stay in /var/lib/leukoscope*, settings in /etc/leukoscope"
fi
