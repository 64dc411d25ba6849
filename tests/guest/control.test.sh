#!/bin/sh
# Netlink and configfs: whoever waits for the daemon is answered, whatever the daemon was doing.
# limit: 240
# machines: uml
. /host/tests/lib.sh
CORE=$CONFIGFS/core

# The kernel waits for a daemon's answer without a limit and cannot be interrupted.
waits_in_kernel() {
    read -r stat 2> /dev/null < "/proc/$1/stat" || fail "it has ended without a daemon's answer"
    case ${stat##*) } in D*) return 0 ;; esac
    return 1
}

# The kernel waits for answers only after some daemon has said that it gives them.
start_lunboxd
stop_lunboxd || fail "lunboxd ended with status $?"

say "an enable that waits for a daemon is answered by the one that starts"
mkdir -p "$CORE/user_0/early"
put dev_config=file//tmp/early.img "$CORE/user_0/early/control"
put dev_size=$((64 * MIB)) "$CORE/user_0/early/control"
put 1 "$CORE/user_0/early/enable" &
enabling=$!
within 10 "enable waits for an answer" waits_in_kernel "$enabling"
start_lunboxd
within 10 "enable is answered" gone "$enabling"
wait "$enabling" || fail "enable failed with $?"
[ "$(cat "$CORE/user_0/early/enable")" = 1 ] || fail "early is not enabled"

say "a removal that waits for a daemon that dies is answered by its successor"
mk_user late file//tmp/late.img $((64 * MIB))
kill -STOP "$DAEMON"
rmdir "$CORE/user_0/late" &
removing=$!
within 10 "rmdir waits for an answer" waits_in_kernel "$removing"
kill_lunboxd
start_lunboxd
within 10 "rmdir is answered" gone "$removing"
wait "$removing" || fail "rmdir failed with $?"

say "a resize under load is taken over and reported"
map_loop early 0
start_load "$DISK" early
load=$load_pid
must 20 put $((128 * MIB)) "$CORE/user_0/early/attrib/dev_size"
says "Device size: $((128 * MIB)) bytes" 20 sg_readcap "/dev/$SG"
if put 12345 "$CORE/user_0/early/attrib/dev_size" 2> /dev/null; then fail "a size of 12345 was accepted"; fi
within 10 "the log names the size" grep -q 12345 "$LOG"
[ "$(cat "$CORE/user_0/early/attrib/dev_size")" = $((128 * MIB)) ] || fail "the refused size was stored"

say "SIGTERM under load: nothing is lost, the successor goes on"
stop_lunboxd || fail "lunboxd ended with status $?"
start_lunboxd
wait_for_io "$DISK"
stop_load early "$load"
no_kernel_errors
remove_cleanly early 0

say "many creates and deletes at once"
one() {
    mkdir -p "$CORE/user_$1/mass$1" || exit 1
    for control in "dev_config=file//tmp/mass$1.img" dev_size=1048576 cmd_ring_size_mb=1 max_data_area_mb=1; do
        put "$control" "$CORE/user_$1/mass$1/control" || exit 1
    done
    put 1 "$CORE/user_$1/mass$1/enable"
}
all() {
    jobs=
    for number in $(seq 1 48); do
        "$@" "$number" &
        jobs="$jobs $!"
    done
    for job in $jobs; do
        within 60 "end of one of 48 writers" gone "$job"
        wait "$job" || fail "one of 48 writers failed"
    done
}
delete() { rmdir "$CORE/user_$1/mass$1"; }
all one
[ "$(find /sys/class/uio/ -name 'uio[0-9]*' | wc -l)" = 48 ] || fail "not 48 UIO devices"
all delete
[ "$(find /sys/class/uio/ -name 'uio[0-9]*' | wc -l)" = 0 ] || fail "UIO devices were left behind"
daemon_alive

say "SIGTERM amid removals: the daemon ends, and so do the removals"
all one
jobs=
for number in $(seq 1 48); do
    delete "$number" &
    jobs="$jobs $!"
    [ "$number" != 16 ] || kill -TERM "$DAEMON"
done
within 30 "lunboxd ends amid removals" gone "$DAEMON"
wait "$DAEMON" || fail "lunboxd ended with status $?"
# Removals that came too late for this daemon wait for the next.
start_lunboxd
for job in $jobs; do
    within 30 "end of one of 48 removals" gone "$job"
    wait "$job" || fail "one of 48 removals failed"
done
[ "$(find /sys/class/uio/ -name 'uio[0-9]*' | wc -l)" = 0 ] || fail "UIO devices were left behind"
daemon_alive
stop_lunboxd || fail "lunboxd ended with status $?"
say "done"
