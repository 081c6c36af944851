#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes the host key at the first start, says its fingerprint, and serves.
set -eu

keys=${SSHD_KEYS:-/etc/dropbear}
port=${SSHD_PORT:-22}
key=$keys/dropbear_ed25519_host_key

if [ ! -s "$key" ]; then
    # Renamed into place: a key that was cut off is never used.
    rm -f "$key.new"
    /usr/bin/dropbearkey -t ed25519 -f "$key.new" >/dev/null 2>&1
    rm -f "$key.new.pub"
    mv "$key.new" "$key"
fi
echo "sshd: host key $(/usr/bin/dropbearkey -y -f "$key" | sed -n 's/^Fingerprint: //p')"
if [ ! -s /root/.ssh/authorized_keys ]; then
    echo "sshd: /root/.ssh/authorized_keys is absent or empty: nobody can log in" >&2
fi

# In the foreground (-F), log to standard error (-E), no password logins (-s).
exec /usr/sbin/dropbear -F -E -s -p "$port" -r "$key" -P "$keys/dropbear.pid"
