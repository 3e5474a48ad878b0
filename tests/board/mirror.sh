# To be sourced: sets MIRROR to the Debian archive among this machine's own apt sources, unless it is given.
MIRROR=${MIRROR:-$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
  sed -n 's/^Debian|Debian|//p' | head -n 1)}
[ -n "$MIRROR" ] || { echo "$(basename "$0"): apt here has no Debian mirror (run apt-get update); name one: MIRROR=URL" >&2; exit 2; }
