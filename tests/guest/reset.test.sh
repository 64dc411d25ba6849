#!/bin/sh
# Ring resets under a live daemon and verified load: outstanding commands are retried, the LUN lives on.
# limit: 180
# machines: uml
. /host/tests/lib.sh
rounds=8
[ -z "${LUNBOX_FULL:-}" ] || rounds=60

start_lunboxd
mk_user disk file//tmp/disk.img $((64 * MIB))
map_loop disk 0
start_load "$DISK" verify
load=$load_pid
action=$CONFIGFS/core/user_0/disk/action

for _ in $(seq $rounds); do
    wait_for_io "$DISK"
    must 10 put 1 "$action/block_dev"
    must 10 put 1 "$action/reset_ring"
    must 10 put 0 "$action/block_dev"
    wait_for_io "$DISK"
    load_ok verify
    daemon_alive
done
say "$rounds resets"

say "blocked for a while without a reset"
must 10 put 1 "$action/block_dev"
# The outage itself, as in the crash test.
sleep 2
must 10 put 0 "$action/block_dev"
wait_for_io "$DISK"

stop_load verify "$load"
no_kernel_errors
remove_cleanly disk 0
stop_lunboxd || fail "lunboxd ended with status $?"
say "done"
