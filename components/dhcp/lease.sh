#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Called by udhcpc with what happened in $1 and the lease in variables; see udhcpc's README.
set -eu

names=/run/resolvconf/resolv.conf

case "$1" in
deconfig)
    ip link set dev "$interface" up
    ip -4 addr flush dev "$interface"
    ;;
bound | renew)
    ip -4 addr flush dev "$interface"
    ip -4 addr add "$ip/${mask:-24}" broadcast "${broadcast:-+}" dev "$interface"
    metric=$(cat "/sys/class/net/$interface/ifindex")
    for gateway in ${router:-}; do
        ip -4 route add default via "$gateway" dev "$interface" metric "$metric"
        metric=$((metric + 100))
    done
    # A reader sees the old file or the new one. With several cards, the last one's servers stay.
    if [ -n "${dns:-}" ]; then
        {
            [ -z "${domain:-}" ] || echo "search $domain"
            for server in $dns; do
                echo "nameserver $server"
            done
        } >"$names.$interface"
        mv "$names.$interface" "$names"
    fi
    echo "dhcp: $interface has $ip/${mask:-24}, gateway ${router:-none}"
    ;;
esac
