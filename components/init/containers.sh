# SPDX-License-Identifier: Apache-2.0
# Containers that run once, and what a container needs before it can start.

NETWORK=
ADDRESS=

# Whether the board has what a bundle needs: FOLDER. Else sets NEED.
has_needs() {
	[ -r "$1/needs" ] || return 0
	while read -r NEED; do
		case $NEED in
		network) find_network || return 1 ;;
		*) return 1 ;;
		esac
	done < "$1/needs"
	return 0
}

# Waits for a network card, once, up to the board's time; whether there is one.
find_network() {
	while [ ! "$NETWORK" ]; do
		for card in /sys/class/net/*; do
			if [ -e "$card/device" ]; then
				NETWORK=${card##*/}
				ADDRESS="$NETWORK "
				encode "$NETWORK"
				event network interface=$REPLY address=
				return
			fi
		done
		now
		if [ $((NOW - LOADED)) -ge "$FARM_NETWORK_WAIT" ]; then
			NETWORK=none
			event network interface= address=
			break
		fi
		next 0.02
	done
	[ "$NETWORK" != none ]
}

# Says which card has which address, when there is something new to say.
tell_network() {
	case $NETWORK in '' | none) return 0 ;; esac
	read -r _ card _ address _ <<-END
		$(ip -o -4 addr show scope global 2> /dev/null)
	END
	[ "$address" ] || card=$NETWORK
	address=${address%/*}
	if [ "$card $address" != "$ADDRESS" ]; then
		ADDRESS="$card $address"
		encode "$card"
		event network interface=$REPLY address=$address
	fi
	return 0
}

# Does what a bundle wants done before its first start: FOLDER
prepare() {
	[ -r "$1/prepare" ] || return 0
	while read -r command; do
		eval "$command" || return
	done < "$1/prepare"
}

# Runs a bundle to its end: FOLDER NAME SECONDS (0 is for ever). Sets RC.
run_step() {
	STEP=$2 RC=
	if prepare "$1"; then
		{
			crun run --bundle "$1" "$2" < /dev/null
			echo "step-end $2 $?" > /run/farm/events
		} 2>&1 3<&- | svlogd -tt "$FARM_LOG/$2" 3<&- &
		logger=$!
		now
		limit=$((NOW + $3 * 100)) begun=$NOW tell=$((NOW + TELL_FIRST))
		while [ ! "$RC" ]; do
			next 2
			now
			if [ $NOW -ge $tell ] && [ ! "$RC" ]; then
				# Whoever waits must see why.
				tell_output "$2"
				tell=$((begun + TELL_AGAIN))
				[ $NOW -lt $tell ] || tell=$((NOW + 100 * TELL_AGAIN))
			fi
			[ "$3" = 0 ] || [ $NOW -lt $limit ] || break
		done
	else
		RC=1
	fi
	STEP=
	[ "$RC" = 0 ] && return
	if [ ! "$RC" ]; then
		RC=124
		crun delete --force "$2" 2> /dev/null
	fi
	# Its last output may be on its way to the log still.
	tries=0
	while [ $tries -lt 25 ] && kill -0 $logger 2> /dev/null; do
		next 0.02
		tries=$((tries + 1))
	done
	return 1
}

step_ended() {
	[ "$1" = "$STEP" ] && RC=$2
}

# Runs the onboot containers in their order, up to the first that fails; whether none did.
run_onboot() {
	for folder in /containers/onboot/*; do
		[ -e "$folder/config.json" ] || continue
		name=${folder##*/}
		name=${name#*-}
		if ! has_needs "$folder"; then
			event skipped kind=onboot name=$name need=$NEED
			continue
		fi
		event onboot-begin name=$name
		now
		begin=$NOW
		run_step "$folder" "$name" 0
		since $begin
		if [ "$RC" != 0 ]; then
			tell_output "$name"
			event onboot-end name=$name rc=$RC s=$REPLY
			event failed stage=onboot name=$name rc=$RC
			return 1
		fi
		event onboot-end name=$name rc=0 s=$REPLY
		[ -r "$folder/needs" ] && tell_network
	done
	return 0
}
