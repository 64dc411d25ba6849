#!/bin/sh
# A worker dies while its storage stands still: nothing new starts on that storage, and no command's buffer is given
# away, before the last operation of the dead process has gone. docs/fence.md says how.
# limit: 240
# machines: uml
. /host/tests/lib.sh
rounds=${LUNBOX_ROUNDS:-3}

must 20 modprobe -a loop dm-mod
truncate -s 64M /tmp/below.img
BELOW=$(losetup -f --show /tmp/below.img) || fail "losetup"
must 20 dmsetup --noudevsync create slow --table "0 131072 linear $BELOW 0"
[ -b /dev/mapper/slow ] || must 20 dmsetup mknodes
SLOW=/dev/mapper/slow

# The other device is another tenant's: the devices of one worker die together, and wait for each other's storage.
printf 'version = 1\n[[tenant]]\nname = "other"\nmatch = [{ device = "other" }]\n' > /tmp/policy.toml
start_lunboxd --policy /tmp/policy.toml
mk_user other file//tmp/other.img $((64 * MIB))
map_loop other 1
other=$DISK
mk_user disk "file/$SLOW" $((64 * MIB))
map_loop disk 0
start_load "$other" other
other_load=$load_pid
start_load "$DISK" slow
load=$load_pid

# A thread of the worker waits for the storage in a way that no signal ends: a write of less than a page waits for the
# rest of the page.
stuck_in_kernel() { grep -qs ') D ' "/proc/$1"/task/*/stat; }

for round in $(seq "$rounds"); do
    wait_for_io "$DISK"
    worker=$(pgrep -f '[w]orker --tenant default')
    must 20 blockdev --flushbufs "$SLOW"
    must 20 dmsetup --noudevsync suspend --nolockfs --noflush slow
    echo 3 > /proc/sys/vm/drop_caches
    within 60 "an operation of the worker stands still" stuck_in_kernel "$worker"
    log_mark
    kill -KILL "$worker"
    within 20 "the log says what is waited for" log_says '/disk: waiting: .*(held by operations of the process that served this device|its storage does not let go of it)'
    # The storage stands: so must the LUN. Nothing is waited for here, it is the outage itself.
    stuck=$(completed "$DISK")
    sleep 1
    [ "$(completed "$DISK")" = "$stuck" ] || fail "commands were completed while the storage stood still"
    ! log_says '/disk: serving again' || fail "the device was restarted before the fence"
    # The other device need not wait for it.
    wait_for_io "$other"
    must 20 dmsetup --noudevsync resume slow
    wait_for_io "$DISK"
    load_ok slow
    load_ok other
    say "fence round $round of $rounds: the other LUN went on, this one after its storage did"
done

stop_load slow "$load"
stop_load other "$other_load"
no_kernel_errors
remove_cleanly disk 0
remove_cleanly other 1
stop_lunboxd || fail "lunboxd ended with status $?"
must 20 dmsetup --noudevsync remove slow
say "done"
