# SPDX-License-Identifier: Apache-2.0
# Services: runit keeps them running; here it is found out whether they are up, and told.
#
# Of service number N, in variables that end in _N:
#   NAME     its name
#   STATE    starting, up, failed
#   BEGAN    when it was started, in hundredths of a second
#   RUNS     when its container was first seen, or empty
#   LIMIT    when its health command must have ended with 0
#   AGAIN    when the health command is tried next; empty while it runs
#   PAUSE    between two tries
#   RC       what the health command ended with last
#   EXITS    how often it has ended after it was up

SERVICES=0
WAITING=0
FAILED=
TOLD=yes
LOOKS=30
SETTLED_AT=
# Hundredths of a second from the complete boot to the word that the system is alive still.
SETTLED_AFTER=400
# Hundredths of a second after which it is told what whoever is not up has written so far.
TELL_FIRST=1000 TELL_AGAIN=6000

# Sets variables of service N from those without the number: N NAME...
keep() {
	n=$1
	shift
	for variable; do eval "${variable}_$n=\$$variable"; done
}

# Sets variables without a number from those of service N: N NAME...
recall() {
	n=$1
	shift
	for variable; do eval "$variable=\$${variable}_$n"; done
}

# Sets N to the number of the service NAME; whether there is one.
number_of() {
	N=0
	while [ $N -lt $SERVICES ]; do
		N=$((N + 1))
		recall $N NAME
		[ "$NAME" = "$1" ] && return
	done
	return 1
}

start_services() {
	TOLD= moved=
	for folder in /containers/services/*; do
		[ -e "$folder/config.json" ] || continue
		NAME=${folder##*/}
		if ! has_needs "$folder"; then
			mkdir -p /containers/skipped
			mv "$folder" /containers/skipped/
			moved=yes
			event skipped kind=services name=$NAME need=$NEED
			continue
		fi
		SERVICES=$((SERVICES + 1))
		EXITS=0
		keep $SERVICES NAME EXITS
		event service-begin name=$NAME
		begin $SERVICES "$folder"
		if ! prepare "$folder"; then
			mkdir -p /containers/skipped
			mv "$folder" /containers/skipped/
			moved=yes
			service_failed $SERVICES 1 exit
		fi
	done
	[ $SERVICES = 0 ] && return
	# runsvdir waits a second before it starts what is in a folder as young as the clock: one that
	# was just changed, or any where the clock begins in 1970.
	if [ "$moved" ] || [ /containers/services -nt /proc/self ]; then
		touch -d @0 /containers/services
	fi
	runsvdir /containers/services < /dev/null 3<&- &
	SUPERVISOR=$!
}

# Begins to wait for service N to be up: N FOLDER
begin() {
	now
	STATE=starting BEGAN=$NOW RUNS= LIMIT= AGAIN= PAUSE=2 RC=
	if [ -r "$2/health.s" ]; then
		read -r LIMIT < "$2/health.s"
		LIMIT=$((NOW + LIMIT * 100))
	fi
	keep $1 STATE BEGAN RUNS LIMIT AGAIN PAUSE RC
	PACE=0.005 LAST_BEGAN=$NOW LOOKED=$NOW
	[ $WAITING -gt 0 ] || WAITED_FROM=$NOW TELL_AT=$((NOW + TELL_FIRST))
	WAITING=$((WAITING + 1))
}

# Waits for what happens, and moves each service on that is starting; called again and again.
watch_services() {
	if [ $WAITING -gt 0 ]; then
		next $PACE
		now
		# A start is watched closely, a long wait is not.
		[ $((NOW - LAST_BEGAN)) -lt 200 ] || PACE=0.1
		# While anything else runs, a start is under way: a health command would fail, and hold it
		# up. So nothing is done until it is quiet, for a tenth of a second at most.
		read -r _ _ _ running _ < /proc/loadavg
		[ "${running%/*}" = 1 ] || [ $((NOW - LOOKED)) -ge 10 ] || return
		LOOKED=$NOW
		N=0
		while [ $N -lt $SERVICES ]; do
			N=$((N + 1))
			recall $N STATE
			[ $STATE = starting ] && watch_service $N
		done
		[ $NOW -lt $TELL_AT ] || tell_waiting
	else
		[ "$TOLD" ] || tell_end
		next 2
		now
		# An address may come later, when a cable is plugged in or a server answers.
		case $ADDRESS in
		*\ )
			if [ $LOOKS -gt 0 ]; then
				LOOKS=$((LOOKS - 1))
				tell_network
			fi
			;;
		esac
	fi
	[ ! "$SETTLED_AT" ] || [ $NOW -lt $SETTLED_AT ] || tell_settled
}

# Shows what the services that are not up yet have written so far: early, and once more.
tell_waiting() {
	TELL_AT=$((WAITED_FROM + TELL_AGAIN))
	[ $NOW -lt $TELL_AT ] || TELL_AT=$((NOW + 100 * TELL_AGAIN))
	N=0
	while [ $N -lt $SERVICES ]; do
		N=$((N + 1))
		recall $N STATE NAME
		[ $STATE = starting ] && tell_output "$NAME"
	done
}

# Says that the system is alive still, and how many of its services are up.
tell_settled() {
	SETTLED_AT=
	N=0 up=0
	while [ $N -lt $SERVICES ]; do
		N=$((N + 1))
		recall $N STATE NAME
		[ $STATE = up ] && [ -e "/run/crun/$NAME/status" ] && up=$((up + 1))
	done
	since $BEGAN_AT
	event settled s=$REPLY up=$up
}

watch_service() {
	recall $1 NAME RUNS LIMIT AGAIN RC
	if [ ! "$RUNS" ]; then
		if [ -e "/run/crun/$NAME/status" ]; then
			RUNS=$NOW AGAIN=$NOW
			keep $1 RUNS AGAIN
		fi
	fi
	if [ ! "$RUNS" ]; then
		:
	elif [ ! "$LIMIT" ]; then
		[ $((NOW - RUNS)) -lt "$FARM_SETTLE" ] || service_up $1 running
	elif [ "$AGAIN" ] && [ $NOW -ge $AGAIN ]; then
		AGAIN=
		keep $1 AGAIN
		try_health
	fi
	if [ "$LIMIT" ] && [ $NOW -ge $LIMIT ]; then
		service_failed $1 "${RC:-124}" health
	fi
}

# Starts the health command of the service NAME.
try_health() {
	read -r words < "/containers/services/$NAME/health"
	eval "set -- $words"
	{
		crun exec "$NAME" "$@" < /dev/null > /dev/null 2>&1
		echo "health $NAME $?" > /run/farm/events
	} 3<&- &
}

# A health command has ended: NAME RC
health_ended() {
	number_of "$1" || return
	recall $N STATE PAUSE
	[ $STATE = starting ] || return
	if [ "$2" = 0 ]; then
		service_up $N health
		return
	fi
	now
	RC=$2 AGAIN=$((NOW + PAUSE))
	[ $PAUSE -ge 100 ] || PAUSE=$((PAUSE * 2))
	keep $N RC AGAIN PAUSE
}

service_up() {
	recall $1 NAME BEGAN
	STATE=up
	keep $1 STATE
	WAITING=$((WAITING - 1))
	since $BEGAN
	event service-up name=$NAME s=$REPLY by=$2
}

# Service N is not up and will not be waited for: N RC REASON
service_failed() {
	recall $1 NAME
	STATE=failed
	keep $1 STATE
	WAITING=$((WAITING - 1))
	# Its last output may be on its way to the log still.
	sleep 0.1
	tell_output "$NAME"
	event service-failed name=$NAME rc=$2 reason=$3
	[ "$FAILED" ] || FAILED="name=$NAME rc=$2"
}

# A service has ended, and runit starts it again: NAME RC
service_ended() {
	[ "$SHUTTING" ] && return
	number_of "$1" || return
	recall $N STATE EXITS
	case $STATE in
	starting) service_failed $N "$2" exit ;;
	up)
		EXITS=$((EXITS + 1))
		keep $N EXITS
		# One that ends again and again does not fill the console.
		if [ $EXITS -le 10 ] || [ $((EXITS % 100)) = 0 ]; then
			sleep 0.1
			tell_output "$1"
			event service-exit name=$1 rc=$2
		fi
		begin $N "/containers/services/$1"
		;;
	esac
}

tell_end() {
	TOLD=yes
	case $ADDRESS in *\ ) tell_network ;; esac
	if [ "$FAILED" ]; then
		event failed stage=services $FAILED
	else
		since $BEGAN_AT
		event complete s=$REPLY
		SETTLED_AT=$((NOW + SETTLED_AFTER))
	fi
}
