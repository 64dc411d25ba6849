#!/bin/sh
# kill -9 of the daemon under verified load: initiators wait and notice nothing else.
# limit: 240
# machines: uml
. /host/tests/lib.sh
rounds=3
[ -z "${LUNBOX_FULL:-}" ] || rounds=20

start_lunboxd
mk_user disk file//tmp/disk.img $((64 * MIB))
map_loop disk 0
start_load "$DISK" verify
load=$load_pid

for round in $(seq $rounds); do
    wait_for_io "$DISK"
    kill_lunboxd
    stuck=$(cat "/sys/block/$DISK/inflight")
    # The outage itself: initiators are to sit through it. Nothing is waited for here.
    sleep 2
    start_lunboxd
    wait_for_io "$DISK"
    load_ok verify
    say "round $round of $rounds: killed with in flight (reads writes) $stuck, I/O flows again"
done

stop_load verify "$load"
no_kernel_errors
remove_cleanly disk 0
stop_lunboxd || fail "lunboxd ended with status $?"
say "done"
