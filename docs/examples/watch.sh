#!/bin/sh
# One line a result: ./watch.sh [HOST [PORT [mosquitto_sub options, such as -C 10 or --cafile FILE]]]
# Needs mosquitto-clients and jq. Research and second opinion only, not a diagnosis.
host=${1:-127.0.0.1} port=${2:-1883}
[ $# -ge 2 ] && shift 2 || set --
mosquitto_sub -V mqttv5 -h "$host" -p "$port" -q 1 -t 'leukoscope/+/cells' "$@" |
  jq --unbuffered -r 'select(. != null) | [.device, .sequence, .specimen, .verdict, .probabilities.ALL] | @tsv'
