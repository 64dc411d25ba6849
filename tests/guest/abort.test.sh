#!/bin/sh
# Initiators abort commands and reset LUNs while the storage stands still: what the storage holds is waited for, and
# status says so; other LUNs go on; afterwards the LUN serves on with its data.
# limit: 150
# machines: uml
. /host/tests/lib.sh

must 20 modprobe -a loop dm-mod
truncate -s 64M /tmp/below.img
BELOW=$(losetup -f --show /tmp/below.img) || fail "losetup"
must 20 dmsetup --noudevsync create slow --table "0 131072 linear $BELOW 0"
[ -b /dev/mapper/slow ] || must 20 dmsetup mknodes

start_lunboxd
mk_user other file//tmp/other.img $((16 * MIB))
map_loop other 1
other=$DISK
mk_user disk file//dev/mapper/slow $((64 * MIB))
[ "$(cat "$CONFIGFS/core/user_0/disk/attrib/tmr_notification")" = 1 ] || fail "lunboxd is not told of aborts"
map_loop disk 0
must 20 dd if=/dev/urandom of=/tmp/pattern bs=64k count=16
must 20 dd if=/tmp/pattern of="/dev/$DISK" bs=64k oflag=direct

shown() { lunbox device show disk --json | grep -Eo "\"$1\": *[0-9]+" | grep -Eo '[0-9]+$' | head -n 1; }
shows_more() { [ "$(shown "$1")" -gt "$2" ]; }
stall() {
    # Dirty pages can not be dropped, and would answer the reads.
    must 20 blockdev --flushbufs /dev/mapper/slow
    must 20 dmsetup --noudevsync suspend --nolockfs --noflush slow
}
resume() { must 20 dmsetup --noudevsync resume slow; }
in_flight() { [ "$(awk '{ print $1 }' "/sys/block/$DISK/inflight")" -ge "$1" ]; }

# stalled_read: reads by several at once that the storage holds; sets READERS.
stalled_read() {
    stall
    echo 3 > /proc/sys/vm/drop_caches
    READERS=
    for at in 0 256 512 768; do
        dd if="/dev/$DISK" of=/dev/null bs=64k count=1 skip=$at iflag=direct 2> /dev/null &
        READERS="$READERS $!"
    done
    within 20 "commands are in flight" in_flight 2
}
readers_end() {
    for reader in $READERS; do within 60 "a reader ends" gone "$reader"; done
}
serves_on() {
    [ "$(cat "/sys/block/$DISK/device/state")" = running ] || fail "the disk is $(cat "/sys/block/$DISK/device/state")"
    must 30 dd if="/dev/$DISK" of=/tmp/read-back bs=64k count=16 iflag=direct
    cmp /tmp/pattern /tmp/read-back || fail "other data"
    must 30 dd if=/tmp/pattern of="/dev/$DISK" bs=64k oflag=direct
    daemon_alive
}

say "a command times out and is aborted"
echo 3 > "/sys/block/$DISK/device/timeout"
aborts=$(shown aborts)
stalled_read
within 30 "lunboxd counts the abort" shows_more aborts "$aborts"
within 10 "status says how many wait for their storage" shows_more aborting 0
# The other LUN of the same worker does not notice.
must 20 dd if=/dev/urandom of="/dev/$other" bs=64k count=4 oflag=direct
resume
readers_end
within 10 "nothing waits any more" sh -c "! lunbox device show disk --json | grep -Eq '\"aborting\": *[1-9]'"
serves_on
say "$(shown aborts) aborts"

say "the LUN is reset"
echo 30 > "/sys/block/$DISK/device/timeout"
aborts=$(shown aborts)
stalled_read
sg_reset --device "/dev/$SG" > "$SCRATCH/reset" 2>&1 &
reset=$!
# No I/O on the other LUN: Linux holds all of a host's back while it resets one.
within 30 "lunboxd counts what the reset aborts" shows_more aborts "$aborts"
resume
within 30 "the reset ends" gone "$reset"
wait "$reset" || fail "sg_reset: $(cat "$SCRATCH/reset")"
readers_end
serves_on

say "a reset without commands in flight ends at once"
must 5 sg_reset --device "/dev/$SG"
serves_on

remove_cleanly disk 0
remove_cleanly other 1
if dmesg | grep -E 'blocked for more|BUG:|Oops:|Call Trace:|offline'; then fail "the kernel is in trouble"; fi
stop_lunboxd || fail "lunboxd ended with status $?"
must 20 dmsetup --noudevsync remove slow
say "done"
