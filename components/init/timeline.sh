# SPDX-License-Identifier: Apache-2.0
# Writing the boot timeline: docs/console-timeline.md has the format, farm/smoke/timeline.py reads
# it. Nothing here may end the shell, which is process 1.

# Where things are, so that a test can run these functions on any machine.
: "${FARM_PROC:=/proc}" "${FARM_RUN:=/run/farm}" "${FARM_KMSG:=/dev/kmsg}" "${FARM_CONSOLE:=/dev/console}"

# Makes ready to write: finds the boot's id, and how a line comes onto the console.
timeline_open() {
	read -r BOOT < $FARM_PROC/sys/kernel/random/boot_id
	BOOT=${BOOT%%-*}
	SEQ=0
	# The kernel's log, since it prints each line in one piece. Its level is notice, or one that
	# this console shows: `quiet` on the command line must not hide the timeline.
	LEVEL=5
	[ -w $FARM_PROC/sys/kernel/printk_devkmsg ] && echo on > $FARM_PROC/sys/kernel/printk_devkmsg
	read -r shown _ < $FARM_PROC/sys/kernel/printk
	[ "${shown:-7}" -gt $LEVEL ] || LEVEL=$((shown - 1))
	[ -w $FARM_KMSG ] && [ $LEVEL -ge 0 ] || LEVEL=
}

# Puts a line on the console: TEXT
say() {
	if [ "$LEVEL" ]; then
		echo "<$LEVEL>$1" > $FARM_KMSG
	else
		echo "$1" > $FARM_CONSOLE
	fi
}

# Writes a line of the timeline: EVENT [KEY=VALUE]...
# A value that is not made of safe letters for sure goes through `encode` first.
event() {
	SEQ=$((SEQ + 1))
	read -r uptime _ < $FARM_PROC/uptime
	printf %s "farm/1 $BOOT $SEQ $uptime $*" > $FARM_RUN/line
	crc=$(crc32 $FARM_RUN/line)
	say "farm/1 $BOOT $SEQ $uptime $* #${crc%% *}"
}

# Sets REPLY to VALUE as it may stand in a timeline's line.
encode() {
	case $1 in
	*[!A-Za-z0-9._+:@,-]*)
		REPLY=
		for byte in $(printf %s "$1" | od -An -v -tx1 | tr a-f A-F); do
			REPLY=$REPLY%$byte
		done
		;;
	*) REPLY=$1 ;;
	esac
}

# Sets NOW to the uptime in hundredths of a second.
now() {
	read -r uptime _ < $FARM_PROC/uptime
	NOW=$((10#${uptime%.*}${uptime#*.}))
}

# Sets REPLY to the seconds since START, both as `now` counts, with two decimals.
since() {
	now
	REPLY=$((NOW - $1))
	case $REPLY in
	?) REPLY=0.0$REPLY ;;
	??) REPLY=0.$REPLY ;;
	*) REPLY=${REPLY%??}.${REPLY#"${REPLY%??}"} ;;
	esac
}

# Puts the last lines of a container's output on the console: NAME
# Control characters are removed, and what could be taken for a line of the timeline is not one.
tell_output() {
	[ -r "$FARM_LOG/$1/current" ] || return 0
	# The first word of each line is the time that svlogd put there.
	tail -n 20 "$FARM_LOG/$1/current" | tr '\t' ' ' | tr -cd '\n -~' |
		sed 's/^[^ ]* //; s|farm/|farm-|g' > $FARM_RUN/tail
	while IFS= read -r line || [ "$line" ]; do
		say "farm: $1: ${line:0:300}"
	done < $FARM_RUN/tail
}
