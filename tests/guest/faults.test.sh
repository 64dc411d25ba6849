#!/bin/sh
# Faults that tcmu-runner was put through, replayed: the table tells what it did then and what lunboxd does
# now. Nowhere worse; better where a resize, a reset of the ring, or a creation without a daemon is the fault.
# limit: 240
# machines: uml
. /host/tests/lib.sh
CORE=$CONFIGFS/core/user_0

# row NUMBER FAULT RECORDED NOW
row() { printf '%-4s| %-37s| %-61s| %s\n' "$@"; }
ms() { echo $((($(now) - began) * 10)); }
begin() { began=$(now); }
# tcmu-runner is one process: what kills it kills what serves the devices, too.
kill_all() {
    # shellcheck disable=SC2046
    kill -KILL "$DAEMON" $(workers)
    wait "$DAEMON" 2> /dev/null
}
signal_all() {
    # shellcheck disable=SC2046
    kill "-$1" "$DAEMON" $(workers)
}
outage() { sleep "$1"; }
flows_on() {
    wait_for_io "$DISK"
    load_ok verify
    daemon_alive
}
# errno_of VALUE FILE: writes it, prints the words for the error, nothing if there is none. The shell's own printf knows
# no errors by name.
errno_of() {
    printf '%s' "$1" > "$SCRATCH/value"
    bounded 20 /usr/bin/dd if="$SCRATCH/value" of="$2" bs=4096 conv=notrunc 2>&1 | sed -n "s/.*error writing '[^']*': //p"
}

row no fault 'tcmu-runner 1.5.4, recorded' 'lunboxd, now'
start_lunboxd

begin
mkdir -p "$CORE/bad"
put dev_config=nosuch//x "$CORE/bad/control"
put dev_size=$MIB "$CORE/bad/control"
errno=$(errno_of 1 "$CORE/bad/enable")
[ "$errno" = 'No such file or directory' ] || fail "an unknown handler is refused with \`$errno\`, not ENOENT"
[ "$(cat "$CORE/bad/enable")" = 0 ] || fail "enabled without a handler"
within 5 "its UIO device goes away" has_no_uio bad
rm_user bad
row F0 'unknown handler' 'ENOENT, nothing left but the folder' "ENOENT, nothing left but the folder; $(ms) ms"

mk_user f1 file//tmp/f1.img $((64 * MIB))
map_loop f1 0
start_load "$DISK" verify
load=$load_pid

for module in target_core_user tcm_loop uio; do
    if bounded 10 rmmod "$module" 2> /dev/null; then fail "rmmod $module while it is in use"; fi
done
flows_on
row F5 'rmmod while in use' 'refused' 'refused'

signal_all STOP
outage 4
signal_all CONT
begin
flows_on
row F3 'stopped for seconds, continued' 'resumes, data right' "resumes in $(ms) ms, data right"

must 10 put 1 "$CORE/f1/action/block_dev"
outage 2
must 10 put 0 "$CORE/f1/action/block_dev"
flows_on
row F8b 'blocked for seconds, unblocked' 'goes on, data right' 'goes on, data right'

begin
kill -TERM "$DAEMON"
within 20 "end after SIGTERM" gone "$DAEMON"
wait "$DAEMON" || fail "ended with $?"
took=$(ms)
outage 3
start_lunboxd
flows_on
row F4 'SIGTERM under I/O, back after 3 s' 'ends in 100 ms without draining; resumes' "drains, ends in $took ms; resumes"

kill_all
outage 3
start_lunboxd
begin
flows_on
row F1 'killed under I/O, back after 3 s' 'resumes, data right, no error' "resumes $(ms) ms after ready, data right, no error"

kill_lunboxd
before=$(completed "$DISK")
within 10 "I/O without the supervisor" completed_more_than "$DISK" "$((before + 20))"
start_lunboxd
flows_on
row F1b 'supervisor alone killed' '(one process: as F1)' 'I/O never stops'

kill_all
must 10 put 1 "$CORE/f1/action/block_dev"
must 10 put 1 "$CORE/f1/action/reset_ring"
start_lunboxd
flows_on
[ "$(cat "$CORE/f1/action/block_dev")" = unblocked ] || fail "the device was left blocked"
row F8c 'killed, ring reset, restarted' 'recovers, unblocks by itself' 'recovers, unblocks by itself'

kill_all
outage 17
start_lunboxd
begin
flows_on
row F2 'no daemon for 17 s' 'recovers, data right' "recovers $(ms) ms after ready, data right"

[ -n "$(errno_of 5 "$CORE/f1/attrib/cmd_time_out")" ] || fail "cmd_time_out changed in use"
same=$(errno_of file//tmp/f1.img "$CORE/f1/attrib/dev_config")
other=$(errno_of file//tmp/other.img "$CORE/f1/attrib/dev_config")
[ -z "$same" ] || fail "the same dev_config again: $same"
[ "$other" = 'Operation not supported' ] || fail "another dev_config: \`$other\` instead of EOPNOTSUPP"
[ "$(cat "$CORE/f1/attrib/dev_config")" = file//tmp/f1.img ] || fail "the refused dev_config was stored"
flows_on
row F7 'dev_config rewritten' 'EOPNOTSUPP, also for the same value' 'same value accepted; another: EOPNOTSUPP'

must 20 put $((128 * MIB)) "$CORE/f1/attrib/dev_size"
says "Device size: $((128 * MIB)) bytes" 20 sg_readcap "/dev/$SG"
within 10 "the initiator is told" sh -c 'dmesg | grep -q "Capacity data has changed"'
odd=$(errno_of 12345 "$CORE/f1/attrib/dev_size")
[ -n "$odd" ] || fail "a size of 12345 was accepted"
[ "$(cat "$CORE/f1/attrib/dev_size")" = $((128 * MIB)) ] || fail "the refused size was stored"
flows_on
stop_load verify "$load"
# Without other commands the first one is the one that is told, and no other.
must 20 put $((96 * MIB)) "$CORE/f1/attrib/dev_size"
bounded 10 sg_turs -v "/dev/$SG" > "$SCRATCH/turs" 2>&1
grep -qi 'capacity data has changed\|2a.*09' "$SCRATCH/turs" || fail "no unit attention: $(cat "$SCRATCH/turs")"
must 10 sg_turs "/dev/$SG"
says "Device size: $((96 * MIB)) bytes" 20 sg_readcap "/dev/$SG"
row F6 'dev_size changed under I/O' 'anything accepted, 12345 too; initiator not told' "6/2A/09 once; 12345: $odd"
no_kernel_errors

# From here on the kernel reports errors: they are what the faults are about.
tolerant_io() {
    while [ ! -e "$SCRATCH/tolerant-stop" ]; do
        dd if="/dev/$DISK" of=/dev/null bs=64k count=256 iflag=direct 2> /dev/null || echo error >> "$SCRATCH/tolerant"
    done
}
tolerant_io &
tolerant=$!
wait_for_io "$DISK"
must 10 put 1 "$CORE/f1/action/block_dev"
must 10 put 2 "$CORE/f1/action/reset_ring"
must 10 put 0 "$CORE/f1/action/block_dev"
begin
wait_for_io "$DISK"
took=$(ms)
: > "$SCRATCH/tolerant-stop"
within 20 "the reader ends" gone "$tolerant"
[ "$(cat "/sys/block/$DISK/device/state")" = running ] || fail "the disk is $(cat "/sys/block/$DISK/device/state")"
must 30 dd if=/dev/urandom of="/dev/$DISK" bs=64k count=16 oflag=direct
row F8 'reset_ring=2 under a live daemon' 'LUN dead, disk offline after 95 s, restart does not help' "goes on after $took ms, disk running"

start_load "$DISK" unmapped
load=$load_pid
begin
unmap_loop f1 0
rm_user f1
took=$(ms)
[ "$took" -lt 10000 ] || fail "removing a LUN under I/O took $took ms"
within 10 "its UIO device goes away" has_no_uio f1
within 60 "the writer sees its disk go" gone "$load"
daemon_alive
row F9 'LUN removed during I/O' 'returns in 0.15 s; nothing left' "returns in $took ms; nothing left"

mk_user f2 file//tmp/f2.img $((64 * MIB))
map_loop f2 1
start_load "$DISK" dead
load=$load_pid
kill_all
(
    unmap_loop f2 1
    rm_user f2
) &
removing=$!
outage 3
start_lunboxd
begin
within 60 "the removal ends once a daemon is there" gone "$removing"
wait "$removing" || fail "the removal failed"
within 60 "the writer sees its disk go" gone "$load"
row F10 'LUN removed while the daemon is dead' 'blocked for 45 s and more, until a daemon is there' "ends $(ms) ms after a daemon is there"

kill_lunboxd
mkdir -p "$CORE/g1"
put dev_config=file//tmp/g1.img "$CORE/g1/control"
put dev_size=$((16 * MIB)) "$CORE/g1/control"
put 1 "$CORE/g1/enable" &
enabling=$!
outage 2
! gone "$enabling" || fail "enable did not wait"
start_lunboxd
within 10 "enable is answered" gone "$enabling"
wait "$enabling" || fail "enable failed"
rm_user g1
row F11 'enable without a daemon' 'EAGAIN once a daemon comes' 'served once a daemon comes'

bounded 20 "$LUNBOXD" --handler-path "$HANDLERS" --cache-dir /tmp/lunbox-cache > "$SCRATCH/second" 2>&1
status=$?
[ "$status" = 1 ] && grep -qi 'already running' "$SCRATCH/second" || fail "second instance: $status, $(cat "$SCRATCH/second")"
daemon_alive
row F12 'second instance' 'refused' 'refused, status 1'

mk_user t1 file//tmp/t1.img $((64 * MIB))
must 10 put 5 "$CORE/t1/attrib/cmd_time_out"
map_loop t1 2
kill_all
begin
if bounded 30 dd if="/dev/$DISK" of=/dev/null bs=4k count=1 iflag=direct 2> /dev/null; then fail "read without a daemon"; fi
took=$(ms)
[ "$(cat "/sys/block/$DISK/device/state")" = running ] || fail "the disk is $(cat "/sys/block/$DISK/device/state")"
start_lunboxd
must 30 dd if="/dev/$DISK" of=/dev/null bs=4k count=4 iflag=direct
row F13 'cmd_time_out=5, no daemon' 'EIO after 5 to 6 s, disk running, works after restart' "EIO after $took ms, disk running, works after restart"
remove_cleanly t1 2

if dmesg | grep -E 'blocked for more|BUG:|Oops:|Call Trace:'; then fail "the kernel is in trouble"; fi
stop_lunboxd || fail "lunboxd ended with status $?"
say "done"
