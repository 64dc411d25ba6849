#!/bin/sh
# Creations and deletions at once, by 256 writers; a daemon that dies among them; devices that are there before the
# daemon or never ask it. No writer may hang: of as many with tcmu-runner 1.5.4, 114 did, events lost.
# limit: 240
# machines: uml
. /host/tests/lib.sh
. /host/tests/lib-writers.sh

tenants_policy > /tmp/policy.toml
start() { start_lunboxd --policy /tmp/policy.toml; }
start

say "a second instance is refused"
log_mark
bounded 20 "$LUNBOXD" --handler-path "$HANDLERS" --cache-dir /tmp/lunbox-cache > "$SCRATCH/second" 2>&1
status=$?
[ "$status" = 1 ] || fail "the second instance ended with $status instead of 1: $(cat "$SCRATCH/second")"
grep -qi 'already running' "$SCRATCH/second" || fail "the second instance does not say why: $(cat "$SCRATCH/second")"
daemon_alive

say "256 creations at once"
began=$(now)
all 256 create
[ "$(uio_count)" = 256 ] || fail "$(uio_count) UIO devices instead of 256"
within 10 "all 256 are served" devices_served 256
say "256 creations: $((($(now) - began) * 10)) ms"
began=$(now)
all 256 delete
[ "$(uio_count)" = 0 ] || fail "UIO devices were left behind"
within 20 "nothing is served any more" devices_served 0
say "256 deletions: $((($(now) - began) * 10)) ms"

say "the daemon is killed in the middle of 64 creations"
start_writers 64 create
within 30 "some of 64 are there" more_uio_than 15
kill_lunboxd
start
end_writers 30
say "$failed_writers of 64 were told to try again"
# Whoever was refused may try again at once, and succeeds.
for number in $failed_numbers; do must 20 create "$number"; done
within 20 "all 64 are served" devices_served 64

say "the daemon is killed in the middle of 64 deletions; its successor finds the other devices"
start_writers 64 delete
within 30 "some of 64 are gone" not more_uio_than 48
kill_lunboxd
start
end_writers 30
[ -z "$failed_numbers" ] || fail "removals failed: $failed_numbers"
[ "$(uio_count)" = 0 ] || fail "UIO devices were left behind"
within 20 "nothing is served any more" devices_served 0

say "devices that never ask: found while the daemon runs, and when it starts"
silent() {
    try_user "$1" "file//tmp/$1.img" "$MIB" nl_reply_supported=-1 cmd_ring_size_mb=1 max_data_area_mb=1 ||
        fail "enabling $1"
}
silent running
within 10 "it is served" devices_served 1
kill_lunboxd
silent before
start
within 10 "both are served" devices_served 2
map_loop before 0
must 20 dd if=/dev/urandom of="/dev/$DISK" bs=64k count=4 oflag=direct
remove_cleanly before 0
rm_user running
within 10 "nothing is served any more" devices_served 0

no_kernel_errors
stop_lunboxd || fail "lunboxd ended with status $?"
say "done"
