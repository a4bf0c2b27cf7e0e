#!/bin/sh
# root.sh BINARY FOLDER: lays down in FOLDER the whole root file system that Serin needs, and nothing else: no shell, no package manager.
# What it takes of the system is that of the machine it runs on, which should be the one that BINARY was linked on.
set -eu
binary=$1
root=$2

# What is in the image is readable for all, whatever the umask here.
umask 022
install -D -m 0755 "$binary" "$root/usr/local/bin/serin"
# Where a panic happened is in the program itself; lines of backtraces are half of its size.
strip --strip-debug "$root/usr/local/bin/serin"

# The loader and the libraries, at the places where the program looks for them.
ldd "$binary" | grep -o '/[^ ]*' | while read -r library; do
    install -D -m 0755 "$(readlink -f "$library")" "$root$library"
done

# Who signs the certificates of receivers of webhooks, of ACME, of etcd.
install -D -m 0644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
echo 'serin:x:65532:65532::/var/lib/serin:/sbin/nologin' > "$root/etc/passwd"
echo 'serin:x:65532:' > "$root/etc/group"
# Without it, names are asked of DNS before /etc/hosts is looked at.
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
mkdir -p "$root/etc/serin" "$root/var/lib/serin"
