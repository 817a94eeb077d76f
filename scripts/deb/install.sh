#!/bin/sh
# Installs fieldferry from its archive on a machine with systemd and without
# dpkg. Run it as root in the unpacked directory:
#
#   ./install.sh             install, or upgrade what was installed before
#   ./install.sh uninstall   remove the program; configuration and buffer stay
#
# DESTDIR=DIRECTORY only copies the files, for an image.
set -eu
# Everybody may read what is installed, whatever root's umask is: the service is
# another user. dpkg sees to that by itself.
umask 022
cd "$(dirname "$0")"
dest=${DESTDIR:-}

if [ -z "$dest" ] && [ "$(id -u)" != 0 ]; then
    echo "install.sh: run it as root" >&2
    exit 1
fi
if [ -z "$dest" ] && command -v dpkg-query >/dev/null && dpkg-query -W -f '${Status}' fieldferry 2>/dev/null | grep -q ' installed$'; then
    echo "install.sh: fieldferry is installed as a Debian package; upgrade it with apt" >&2
    exit 1
fi

files() { (cd root && find . ! -type d | sed 's/^\.//' | sort); }

case ${1:-install} in
install)
    files | while read -r file; do
        mkdir -p "$dest$(dirname "$file")"
        # A running program cannot be written to; it can be replaced.
        cp -P "root$file" "$dest$file.new"
        # What was unpacked may have lost its modes to the umask of who did it.
        [ -L "$dest$file.new" ] || chmod u=rwX,go=rX "$dest$file.new"
        mv -f "$dest$file.new" "$dest$file"
    done
    if [ -z "$dest" ]; then
        ./setup configure
    else
        echo "fieldferry: copied to $dest. The user, /etc/fieldferry and /etc/default/fieldferry are still missing:"
        echo "run setup of this archive there as root, at the first boot or in a chroot: ./setup configure"
    fi ;;
uninstall)
    [ -n "$dest" ] || systemctl disable --now fieldferry.service || true
    files | while read -r file; do rm -f "$dest$file"; done
    [ -n "$dest" ] || systemctl daemon-reload || true
    echo "fieldferry: kept /etc/fieldferry, /etc/default/fieldferry and /var/lib/fieldferry" ;;
*)
    echo "usage: install.sh [install|uninstall]" >&2
    exit 2 ;;
esac
