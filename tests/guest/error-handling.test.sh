#!/bin/sh
# SCSI error handling by the initiator: commands time out and are aborted, and the LUN is reset, under a load that is verified;
# no load sees an error, on this LUN or another one of the same worker.
# limit: 150
# machines: uml
. /host/tests/lib.sh
rounds=3
[ -z "${LUNBOX_FULL:-}" ] || rounds=12

must 20 modprobe -a loop dm-mod
truncate -s 64M /tmp/below.img
BELOW=$(losetup -f --show /tmp/below.img) || fail "losetup"
must 20 dmsetup --noudevsync create slow --table "0 131072 linear $BELOW 0"
[ -b /dev/mapper/slow ] || must 20 dmsetup mknodes

start_lunboxd
mk_user other file//tmp/other.img $((64 * MIB))
map_loop other 1
other=$DISK
mk_user disk file//dev/mapper/slow $((64 * MIB))
map_loop disk 0

shown() { lunbox device show disk --json | grep -Eo "\"$1\": *[0-9]+" | grep -Eo '[0-9]+$' | head -n 1; }
in_flight() { [ "$(awk '{ print $1 + $2 }' "/sys/block/$DISK/inflight")" -ge "$1" ]; }
aborted_after() { [ "$(shown aborts)" -gt "$1" ]; }

# hold: the storage stands still from now on, and readers of what the load does not touch wait for it; sets READERS. The
# load itself could go on in the page cache for long.
hold() {
    must 20 blockdev --flushbufs /dev/mapper/slow
    must 20 dmsetup --noudevsync suspend --nolockfs --noflush slow
    echo 3 > /proc/sys/vm/drop_caches
    READERS=
    for at in 32 36 40 44; do
        dd if="/dev/$DISK" of=/dev/null bs=1M count=2 skip=$at iflag=direct 2> "$SCRATCH/reader-$at" &
        READERS="$READERS $!"
    done
}
# flows COUNT: more commands than that are completed; a load that ended with an error says so here, and not as I/O that stands.
flows() {
    load_ok disk
    completed_more_than "$DISK" "$1"
}
# release: the storage goes on, and so do all that waited for it.
release() {
    must 20 dmsetup --noudevsync resume slow
    for reader in $READERS; do
        within 60 "a reader ends" gone "$reader"
        wait "$reader" || fail "a reader got an error: $(cat "$SCRATCH"/reader-*)"
    done
    within 60 "the load goes on" flows "$(($(completed "$DISK") + 100))"
    load_ok other
}

start_load "$DISK" disk
load=$load_pid
start_load "$other" other
other_load=$load_pid
# Aborted commands are repeated by Linux: each gets several tries.
echo 3 > "/sys/block/$DISK/device/timeout"

for round in $(seq "$rounds"); do
    wait_for_io "$DISK"
    aborts=$(shown aborts)
    hold
    within 30 "a command times out and is aborted" aborted_after "$aborts"
    release
    say "abort round $round of $rounds: $(($(shown aborts) - aborts)) aborts, the load goes on"
done

# Under the load that verifies: it read zeros through the loopback fabric when commands were cancelled that a reset ended.
echo 30 > "/sys/block/$DISK/device/timeout"
for round in $(seq "$rounds"); do
    aborts=$(shown aborts)
    hold
    within 20 "commands are in flight" in_flight 4
    sg_reset --device "/dev/$SG" > "$SCRATCH/reset" 2>&1 &
    reset=$!
    within 30 "the reset aborts commands" aborted_after "$aborts"
    release
    within 30 "the reset ends" gone "$reset"
    wait "$reset" || fail "sg_reset: $(cat "$SCRATCH/reset")"
    say "reset round $round of $rounds: $(($(shown aborts) - aborts)) aborts, the loads go on"
done
stop_load disk "$load"

stop_load other "$other_load"
[ "$(cat "/sys/block/$DISK/device/state")" = running ] || fail "the disk is $(cat "/sys/block/$DISK/device/state")"
if dmesg | grep -E 'I/O error|Medium Error|blocked for more|BUG:|Oops:|Call Trace:|offlined'; then
    fail "the kernel is in trouble"
fi
remove_cleanly disk 0
remove_cleanly other 1
stop_lunboxd || fail "lunboxd ended with status $?"
must 20 dmsetup --noudevsync remove slow
say "done"
