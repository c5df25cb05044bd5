#!/bin/bash
# Train on several machines that ssh reaches without a password: change the lines below to your
# machines, your data and your settings, then `bash ssh.sh`. docs/several-machines.md explains it.
# Ctrl-C lets the workers save their state; the same command resumes. Needs bash 5.1.
set -uo pipefail

# Names by which ssh and the machines themselves reach each machine; the first is worker 0.
hosts=(node1 node2 node3 node4)
port=8470
# In a folder that all machines see, as are the paths below.
folder=/shared/sat_tf
command=(
	.venv/bin/python -m sat_tf.train
	--flagfile=experiments/coco_soft.flags
	--data_dir=/shared/coco
	--cache_dir=/shared/cache
	--workdir=/shared/runs/coco
)
max_restarts=10
grace=60 # seconds in which the other workers end by themselves when one has failed

# What each machine runs. Standard input ends when this script closes it, and also when the script
# is killed or the connection is lost: the worker then saves its state or, later, is killed.
# shellcheck disable=SC2016 # the variables are those of the other machine
remote='
	cd "$folder" || exit
	exec 3<&0
	"$@" </dev/null 3<&- &
	worker=$!
	{
		cat <&3
		kill -TERM "$worker"
		sleep "$grace"
		kill -KILL "$worker"
	} >/dev/null 2>&1 &
	watcher=$!
	wait "$worker"
	status=$?
	kill "$watcher" 2>/dev/null
	exit "$status"
'

# Print the arguments as words for a shell.
quoted() {
	local word
	for word; do
		printf "'%s' " "${word//\'/\'\\\'\'}"
	done
}

# Run the worker of that number on its machine; its lines start with the name of the machine.
worker() {
	local addresses config host=${hosts[$1]}
	addresses=$(printf "\"%s:$port\"," "${hosts[@]}")
	config="{\"cluster\": {\"worker\": [${addresses%,}]}, "
	config+="\"task\": {\"type\": \"worker\", \"index\": $1}}"
	ssh -o BatchMode=yes -o ServerAliveInterval=15 "$host" "$(
		quoted env TF_CONFIG="$config" PYTHONUNBUFFERED=1 folder="$folder" grace="$grace" \
			sh -c "$remote" worker "${command[@]}"
	)" 2>&1 | sed -u "s/^/[$host] /"
}

# Run all workers once, and set `status` to 0 or to that of a failure, first of all of a mistake.
run() {
	local -A running=()
	local number ended result timer='' temporary
	status=0
	# Standard input of all connections is descriptor 8; it ends when 9 is closed.
	temporary=$(mktemp -d)
	mkfifo "$temporary/pipe"
	exec 9<>"$temporary/pipe"
	exec 8<"$temporary/pipe"
	rm -r "$temporary"
	for number in "${!hosts[@]}"; do
		worker "$number" <&8 8<&- 9>&- &
		running[$!]=${hosts[$number]}
	done
	while [ ${#running[@]} -gt 0 ]; do
		wait -n -p ended "${!running[@]}" ${timer:+"$timer"}
		result=$?
		if [ -z "${ended:-}" ]; then # a signal to this script
			continue
		elif [ "$ended" = "$timer" ]; then
			echo "not all workers end by themselves; ending them"
			timer=''
			exec 9>&-
			continue
		fi
		if [ "$result" != 0 ]; then
			echo "the worker on ${running[$ended]} ended with status $result"
			if [ "$status" = 0 ]; then
				sleep "$grace" 8<&- 9>&- &
				timer=$!
			fi
			if [ "$status" = 0 ] || [ "$result" -le 2 ]; then
				status=$result
			fi
		fi
		unset "running[$ended]"
	done
	[ -z "$timer" ] || kill "$timer" 2>/dev/null
	exec 8<&- 9>&-
}

stopped=''
trap 'stopped=130; exec 9>&-' INT
trap 'stopped=143; exec 9>&-' TERM HUP

for ((restarts = 0; ; restarts++)); do
	run
	[ -z "$stopped" ] || exit "$stopped"
	# Finished; or a mistake, which would come again.
	[ "$status" -gt 2 ] || exit "$status"
	[ "$restarts" -lt "$max_restarts" ] || exit 75
	echo "restarting all ($((restarts + 1)) of $max_restarts)"
	sleep 5
	[ -z "$stopped" ] || exit "$stopped"
done
