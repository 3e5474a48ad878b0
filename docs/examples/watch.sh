#!/bin/sh
# One line per result: ./watch.sh [HOST [PORT [mosquitto_sub options]]]
# With a user and TLS: ./watch.sh broker.lab 8883 -u viewer -P "$PASSWORD" --cafile ca.crt
# (a password on the command line is seen by the users of this machine; mosquitto_sub also reads options from
# ~/.config/mosquitto_sub). Needs mosquitto-clients and jq. Research and second opinion only, not a diagnosis.
host=${1:-127.0.0.1} port=${2:-1883}
[ $# -ge 2 ] && shift 2 || set --
mosquitto_sub -V mqttv5 -h "$host" -p "$port" -q 1 -t 'leukoscope/+/cells' "$@" |
  jq --unbuffered -r 'select(. != null) | [.device, .sequence, .specimen, .verdict, .probabilities.ALL] | @tsv'
