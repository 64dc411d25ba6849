#!/bin/sh
# From tcmu-runner to lunboxd and back, and from one version of lunboxd to the next, under a mounted file system whose
# files are verified: no error, no corruption. Debian's tcmu-runner has no file handler; its qcow handler serves raw
# images as they are, and tests/guests/raw-qcow has the same subtype.
# limit: 300
# machines: uml
. /host/tests/lib.sh
HANDLERS=/tmp/handlers
mkdir -p "$HANDLERS"
cp /host/handlers-test/handler_raw_qcow.wasm "$HANDLERS/"

RUNNER=
runner_on_bus() {
    ! gone "$RUNNER" || {
        cat "$SCRATCH/runner.log"
        fail "tcmu-runner ended while starting"
    }
    dbus-send --system --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.GetNameOwner \
        string:org.kernel.TCMUService1 > /dev/null 2>&1
}
start_runner() {
    tcmu-runner > "$SCRATCH/runner.log" 2>&1 &
    RUNNER=$!
    within 60 "tcmu-runner on the bus" runner_on_bus
}
stop_runner() {
    kill -TERM "$RUNNER"
    within 30 "tcmu-runner ends" gone "$RUNNER"
    wait "$RUNNER" 2> /dev/null
}

truncate -s 128M /tmp/disk.img
start_runner
mk_user disk qcow//tmp/disk.img $((128 * MIB))
map_loop disk 0
must 60 mkfs.ext4 -q -F "/dev/$DISK"
mkdir -p /mnt/lun
must 20 mount "/dev/$DISK" /mnt/lun
head -c 8388608 /dev/urandom > /tmp/precious
cp /tmp/precious /mnt/lun/precious
truncate -s 24M /mnt/lun/verified
start_file_load /mnt/lun/verified "$DISK" verify
load=$load_pid

for round in 1 2; do
    stop_runner
    start_lunboxd
    wait_for_io "$DISK"
    load_ok verify
    say "round $round: tcmu-runner to lunboxd, I/O flows"

    worker=$(workers)
    # Another build of the same version: its digest differs.
    cp /host/lunboxd "/tmp/lunboxd-$round"
    echo "build $round" >> "/tmp/lunboxd-$round"
    kill -USR2 "$DAEMON"
    within 10 "the supervisor leaves" gone "$DAEMON"
    wait "$DAEMON" || fail "it left with status $?"
    wait_for_io "$DISK"
    LUNBOXD=/tmp/lunboxd-$round
    start_lunboxd
    within 30 "a worker of the new build" worker_is_other "$worker"
    within 30 "the old worker leaves" gone "$worker"
    wait_for_io "$DISK"
    load_ok verify
    [ "$(readlink "/proc/$(workers)/exe")" = "$LUNBOXD" ] || fail "the worker runs $(readlink "/proc/$(workers)/exe")"
    say "round $round: lunboxd to its next build, I/O flows"
    LUNBOXD=/host/lunboxd

    stop_lunboxd || fail "lunboxd ended with status $?"
    start_runner
    wait_for_io "$DISK"
    load_ok verify
    say "round $round: lunboxd to tcmu-runner, I/O flows"
done
stop_runner
start_lunboxd

stop_load verify "$load"
cmp /tmp/precious /mnt/lun/precious || fail "the file system has lost data"
must 60 umount /mnt/lun
must 60 e2fsck -fn "/dev/$DISK"
no_kernel_errors
remove_cleanly disk 0
stop_lunboxd || fail "lunboxd ended with status $?"
say "done"
