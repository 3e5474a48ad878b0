#!/bin/sh
# An authority of the laboratory's own and the broker's certificate, signed by it:
#   fleet/certificates.sh FOLDER HOST [HOST…]     HOST: names or addresses by which boxes reach the broker
# authority.crt goes to every box ([mqtt] ca_file); authority.key is kept offline: who has it can pretend to be the broker.
set -eu
if [ $# -lt 2 ]; then sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 2; fi
folder=$1; shift
umask 077
mkdir -p "$folder"
cd "$folder"
names=''
for host in "$@"; do
  case $host in
    *[!0-9.]*) kind=DNS ;;
    *) kind=IP ;;
  esac
  names=$names${names:+,}$kind:$host
done
if [ ! -e authority.key ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj '/CN=Leukoscope authority' \
    -addext 'keyUsage=critical,keyCertSign,cRLSign' -keyout authority.key -out authority.crt 2>/dev/null
fi
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout broker.key -out broker.csr 2>/dev/null
printf 'subjectAltName=%s\nbasicConstraints=CA:FALSE\n' "$names" > broker.ext
openssl x509 -req -in broker.csr -CA authority.crt -CAkey authority.key -CAcreateserial -days 825 -extfile broker.ext -out broker.crt 2>/dev/null
rm broker.csr broker.ext
chmod 644 authority.crt broker.crt
echo "$folder: authority.crt (to every box), broker.crt and broker.key (to the broker), authority.key (keep it offline)"
