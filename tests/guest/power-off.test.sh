#!/bin/sh
# The machine is stopped with LUNs present, one of them under load and one whose storage stands still: lunboxd leaves
# in a bounded time and says what it leaves behind, and the kernel's power-off waits no longer for a disk than
# `cmd_time_out` lets its commands wait. A guest that does not end is a test that fails.
# limit: 120
# machines: uml
. /host/tests/lib.sh

must 20 modprobe -a loop dm-mod
truncate -s 64M /tmp/below.img
BELOW=$(losetup -f --show /tmp/below.img) || fail "losetup"
must 20 dmsetup --noudevsync create slow --table "0 131072 linear $BELOW 0"
[ -b /dev/mapper/slow ] || must 20 dmsetup mknodes

# The kernel waits this long for a command, tries it three times, and does so for one disk after the other.
patience=2
mk_lun() { # NAME CFGSTRING LUN
    mk_user "$1" "$2" $((64 * MIB))
    put "$patience" "$CONFIGFS/core/user_0/$1/attrib/cmd_time_out"
    map_loop "$1" "$3"
    grep -q 'write back' "/sys/class/scsi_disk/"*":0:1:$3/cache_type" || fail "a power-off would not flush $1"
}
start_lunboxd
mk_lun stalled file//dev/mapper/slow 1
stalled=$DISK
mk_lun disk file//tmp/disk.img 0
start_load "$DISK" verify

must 20 dmsetup --noudevsync suspend --nolockfs --noflush slow
worker=$(workers)
stuck() { grep -qs ') D ' "/proc/$1"/task/*/stat; }
dd if=/dev/urandom of="/dev/$stalled" bs=512 count=64 oflag=direct 2> /dev/null &
echo 3 > /proc/sys/vm/drop_caches
within 30 "an operation of the worker stands still" stuck "$worker"

log_mark
began=$(now)
kill -TERM "$DAEMON"
within 30 "lunboxd ends after SIGTERM" gone "$DAEMON"
wait "$DAEMON"
status=$?
[ "$status" = 0 ] || fail "lunboxd ended with status $status"
say "lunboxd left after $((($(now) - began) * 10)) ms"
log_says '/stalled: .*operations have not ended' || fail "the log does not name the device whose storage stands still"
log_says "kill -9 $worker" || fail "the log does not say what to do about the worker that is left"
[ "$(workers)" = "$worker" ] || fail "the worker of the stalled device is not left alone: $(workers)"

say "power off"
echo 0 > /host/status
# Without sync(2): it would wait for the storage that stands still, which is the tester's doing, not lunboxd's.
busybox poweroff -f -n
sleep 1000
