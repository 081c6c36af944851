#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Asks on every network card at once. Ends with 0 when one of them has its lease (and the others
# were given two seconds more), with 1 when none came in half a minute.
set -u

cards=$(ip -o link show | sed -n 's,^[0-9]*: \([^:@]*\)[:@].*link/ether .*,\1,p')
if [ -z "$cards" ]; then
    echo "dhcp: there is no network card" >&2
    exit 1
fi

answers=/run/dhcp.answers
rm -f "$answers"
mkfifo "$answers"
exec 3<>"$answers"
rm "$answers"

asked=0
for card in $cards; do
    ip link set dev "$card" up
    {
        # Ten questions, three seconds apart; a lease ends it at once.
        udhcpc -f -n -q -t 10 -T 3 -i "$card" -s /usr/lib/dhcp/lease 3>&-
        echo "$card $?" >&3
    } &
    asked=$((asked + 1))
done

result=1
patience=40
while [ "$asked" -gt 0 ] && read -r -t "$patience" card code <&3; do
    asked=$((asked - 1))
    if [ "$code" = 0 ]; then
        result=0
        patience=2
    fi
done

if [ "$result" != 0 ]; then
    echo "dhcp: no lease came for:" $cards >&2
fi
exit "$result"
