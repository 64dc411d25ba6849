#!/bin/sh
# ;tcmur_cmd_time_out=N; in dev_config: where it may stand, how it may be spelt, and what a slow command does then: it is
# logged and counted once, and its answer is the initiator's all the same.
# limit: 120
# machines: uml
. /host/tests/lib.sh

must 20 modprobe -a loop dm-mod
truncate -s 64M /tmp/below.img
BELOW=$(losetup -f --show /tmp/below.img) || fail "losetup"
must 20 dmsetup --noudevsync create slow --table "0 131072 linear $BELOW 0"
[ -b /dev/mapper/slow ] || must 20 dmsetup mknodes

start_lunboxd
shown() { lunbox device show "$1" --json | grep -Eo "\"$2\": *[0-9]+" | grep -Eo '[0-9]+$' | head -n 1; }
shows_more() { [ "$(shown "$1" "$2")" -gt "$3" ]; }

say "positions and spellings"
# has SECONDS CFGSTRING PATH…: it is served with that time-out, from these files.
has() {
    wanted=$1 config=$2
    shift 2
    mk_user form "$config" "$MIB"
    [ "$(shown form command_timeout_s)" = "$wanted" ] || fail "$config: $(lunbox device show form --json)"
    for path in "$@"; do [ -e "$path" ] || fail "$config: no file $path"; done
    rm_user form
    rm -f "$@"
}
has 20 'file/;tcmur_cmd_time_out=20;/tmp/first.img' /tmp/first.img
has 43 'file//tmp/last.img;tcmur_cmd_time_out=43' /tmp/last.img
has 5 'mirror//tmp/a.img;tcmur_cmd_time_out=5;copy=/tmp/b.img' /tmp/a.img /tmp/b.img
has 20 'file/;tcmur_cmd_timeout=20;/tmp/first.img' /tmp/first.img
has 0 'file//tmp/off.img;tcmur_cmd_time_out=0' /tmp/off.img
log_mark
has 0 'file//tmp/odd.img;tcmur_cmd_time_out=soon' /tmp/odd.img
within 5 "the log names a value that is none" log_says '\[WARN\].*time-?out.*"soon"'

say "a slow command"
mk_user disk 'file/;tcmur_cmd_time_out=2;/dev/mapper/slow' $((64 * MIB))
map_loop disk 0
must 20 dd if=/dev/urandom of=/tmp/pattern bs=4k count=1
must 20 dd if=/tmp/pattern of="/dev/$DISK" bs=4k oflag=direct
before=$(shown disk timeouts)
# Dirty pages can not be dropped, and would answer the read.
must 20 blockdev --flushbufs /dev/mapper/slow
must 20 dmsetup --noudevsync suspend --nolockfs --noflush slow
echo 3 > /proc/sys/vm/drop_caches
log_mark
dd if="/dev/$DISK" of=/tmp/read-back bs=4k count=1 iflag=direct 2> /dev/null &
reader=$!
within 15 "it is counted" shows_more disk timeouts "$before"
within 5 "it is logged" log_says '\[INFO\].*/disk: READ\(10\) has not ended in time.*lba=0 blocks=8'
counted=$(shown disk timeouts)
# The outage itself: nobody counts it a second time.
sleep 4
[ "$(shown disk timeouts)" = "$counted" ] || fail "counted again: $(shown disk timeouts) instead of $counted"
must 20 dmsetup --noudevsync resume slow
within 20 "the reader ends" gone "$reader"
wait "$reader" || fail "the late answer was not the initiator's"
cmp /tmp/pattern /tmp/read-back || fail "other data"
within 5 "how long it took is logged" log_says '/disk: .*late.*elapsed_ms=[0-9]{4,}'
no_kernel_errors

remove_cleanly disk 0
stop_lunboxd || fail "lunboxd ended with status $?"
must 20 dmsetup --noudevsync remove slow
say "done"
