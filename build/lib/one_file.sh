#!/bin/sh
# claraedge in one file: this script, and behind its last line the folder form, packed. Each start unpacks
# it to a folder that may hold programs, and becomes the program there; that removes the folder at its end.
set -u
size=@SIZE@ first=@FIRST@ mib=@MIB@ marker=@MARKER@
folder='' reasons=''
trap 'rm -rf "${folder:-/nowhere}"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

case $0 in
*/*) self=$0 ;;
*) self=$(command -v -- "$0") || self=$0 ;;
esac
found=$(wc -c <"$self")
if [ "$found" -ne "$size" ]; then
    echo "claraedge: $self is not whole ($((found)) of $size bytes); copy it again" >&2
    exit 1
fi

refused() {
    reasons="$reasons
  $1: $2"
    rm -rf "${folder:-/nowhere}"
    folder=''
    return 1
}

unpack() {
    case $1 in
    /*) place=$1 ;;
    *) place=$PWD/$1 ;;
    esac
    folder=$(mktemp -d "$place/claraedge-XXXXXX" 2>/dev/null) ||
        refused "$place" "it is not there, or may not be written to" || return
    printf '#!/bin/sh\n' >"$folder/$marker" && chmod 700 "$folder/$marker" ||
        refused "$place" "it is full: $mib MB are needed" || return
    "$folder/$marker" 2>/dev/null ||
        refused "$place" "it forbids programs (it is mounted with noexec)" || return
    tail -n "+$first" "$self" 2>/dev/null | tar -xzof - -C "$folder" 2>/dev/null ||
        refused "$place" "it is full, or tar and gzip are missing: $mib MB are needed" || return
}

for place in "${TMPDIR-}" /tmp /var/tmp "${XDG_RUNTIME_DIR-}" "${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}"; do
    if [ -n "$place" ] && unpack "$place"; then
        trap - EXIT INT TERM HUP
        exec "$folder/claraedge" "$@"
    fi
done
echo "claraedge: there is no folder that this program can be unpacked to:$reasons
  Name one that may hold programs, as in: TMPDIR=\$HOME claraedge ...
  The folder form, claraedge-dir, unpacks nothing." >&2
exit 1
