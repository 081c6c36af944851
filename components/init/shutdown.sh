# SPDX-License-Identifier: Apache-2.0
# The way down: onshutdown containers, services, file systems.

SHUTTING=
STEP_LIMIT=30
SERVICE_LIMIT=500

# Ends the system as SHUTDOWN says.
shut_down() {
	SHUTTING=yes
	for folder in /containers/onshutdown/*; do
		[ -e "$folder/config.json" ] || continue
		name=${folder##*/}
		name=${name#*-}
		if has_needs "$folder" && ! run_step "$folder" "$name" $STEP_LIMIT; then
			tell_output "$name"
			say "farm: $name: ended with $RC"
		fi
	done
	stop_services
	event shutdown reason=$SHUTDOWN
	sync
	# /proc goes too, without which the shell does not find its own applets.
	/usr/bin/busybox umount -a -r 2> /dev/null
	/usr/bin/busybox $SHUTDOWN -f
	while :; do /usr/bin/busybox sleep 60; done
}

stop_services() {
	# It passes the word on to each runsv, which sends SIGTERM to its container.
	[ "$SUPERVISOR" ] && kill -HUP $SUPERVISOR
	now
	limit=$((NOW + SERVICE_LIMIT))
	while [ $NOW -lt $limit ]; do
		left=
		for state in /run/crun/*; do
			[ -e "$state/status" ] && left=yes
		done
		[ "$left" ] || break
		next 0.05
		now
	done
	for state in /run/crun/*; do
		[ -e "$state/status" ] && crun delete --force "${state##*/}" 2> /dev/null
	done
}
