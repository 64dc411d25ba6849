# LUNs of the guest benchmark; sourced after lib.sh. Three daemons share one kernel here, which none is made for: each
# has a lock file of its own, and while one makes a LUN the others are stopped, because each refuses every subtype that
# it does not know and the kernel takes the first answer. What they serve differs by subtype: qcow, file, raw.

LUN_MIB=${LUNBOX_BENCH_LUN_MIB:?}
RUNNER= SINGLE=
next_lun=0

# One program can have the name on the bus, and here that is tcmu-runner: our daemons find no bus and serve all the same.
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/no-bus

runner_on_bus() {
    ! gone "$RUNNER" || {
        cat "$SCRATCH/runner.log"
        fail "tcmu-runner ended while starting"
    }
    env -u DBUS_SYSTEM_BUS_ADDRESS dbus-send --system --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.GetNameOwner \
        string:org.kernel.TCMUService1 > /dev/null 2>&1
}

runner_version() { tcmu-runner -V 2>&1 | head -n 1; }

# start_runner: sets RUNNER; returns when it has read its handlers.
start_runner() {
    : > "$SCRATCH/runner.lock"
    : >> /run/tcmu.lock
    env -u DBUS_SYSTEM_BUS_ADDRESS unshare -m \
        sh -c "mount --bind $SCRATCH/runner.lock /run/tcmu.lock && exec tcmu-runner" \
        > "$SCRATCH/runner.log" 2>&1 &
    RUNNER=$!
    within 60 "tcmu-runner on the bus" runner_on_bus
}

single_is_ready() {
    ! gone "$SINGLE" || fail "lunboxd --single-process ended while starting"
    tail -n "+$((single_log_before + 1))" "$LOG" | grep -qw ready
}

# start_single: sets SINGLE: our daemon with its device loops in its own process, and the handler `raw` alone. Its log
# goes where the other's does.
start_single() {
    mkdir -p "$SCRATCH/handlers-single"
    cp /host/handlers-test/handler_raw.wasm "$SCRATCH/handlers-single/"
    : > "$SCRATCH/single.lock"
    : >> /run/tcmu.lock
    single_log_before=$(wc -l < "$LOG")
    unshare -m sh -c "mount --bind $SCRATCH/single.lock /run/tcmu.lock &&
        exec $LUNBOXD --single-process --run-dir /run/lunbox-single --handler-path $SCRATCH/handlers-single \
            --cache-dir /tmp/lunbox-cache-single --log-level 3" >> "$LOG" 2>&1 &
    SINGLE=$!
    within 60 "lunboxd --single-process says that it is ready" single_is_ready
}

# fill FILE: a preallocated file without holes; what is in it makes no difference.
fill() { must 120 dd if=/dev/zero of="$1" bs=1M count="$LUN_MIB"; }

# A file system in memory, and ext4 on a disk in memory: no disk of the host gets into the figures.
make_store() {
    mkdir -p "/mnt/$1"
    case $1 in
        tmpfs) must 20 mount -t tmpfs -o size=80% tmpfs /mnt/tmpfs ;;
        ext4)
            must 20 modprobe -a loop ext4
            mkdir -p /mnt/disk
            must 20 mount -t tmpfs -o size=80% disk /mnt/disk
            truncate -s "$((LUN_MIB * 5 + 64))M" /mnt/disk/image
            must 60 mkfs.ext4 -q -F /mnt/disk/image
            must 20 mount -o loop /mnt/disk/image /mnt/ext4
            ;;
        *) fail "store $1; there are tmpfs and ext4" ;;
    esac
}

# show SIDE STORE BACKSTORE: maps a backstore (folder below core) and notes its disk.
show() {
    [ -d "$LOOPBACK" ] || {
        mkdir -p "$LOOPBACK" || fail "mkdir $LOOPBACK"
        put "$NEXUS" "$LOOPBACK/nexus" || fail "loopback nexus"
    }
    mkdir "$LOOPBACK/lun/lun_$next_lun" || fail "mkdir lun_$next_lun"
    bounded 20 ln -s "$CONFIGFS/core/$3" "$LOOPBACK/lun/lun_$next_lun/${3##*/}" || fail "mapping $3"
    DISK=''
    within 30 "a disk for $3" disk_of_lun "$next_lun"
    next_lun=$((next_lun + 1))
    echo "$DISK $(uio_of "${3##*/}")" > "$SCRATCH/lun-$1-$2"
}

# processes SIDE: sets pids to the numbers of its processes with commas between them; 0 is the kernel itself.
processes() {
    case $1 in
        lunbox | control) pids=$DAEMON$(workers | sed 's/^/,/' | tr -d '\n') ;;
        single) pids=$SINGLE ;;
        runner) pids=$RUNNER ;;
        fileio) pids=0 ;;
    esac
}

# alone PID COMMAND…: runs COMMAND while of the daemons only PID is awake.
alone() {
    awake=$1
    shift
    for daemon in $DAEMON $SINGLE $RUNNER; do [ "$daemon" = "$awake" ] || kill -STOP "$daemon"; done
    "$@"
    for daemon in $DAEMON $SINGLE $RUNNER; do [ "$daemon" = "$awake" ] || kill -CONT "$daemon"; done
}

# make_luns STORES: for each store one LUN of tcmu-runner, of the kernel's fileio, of our single-process daemon, and
# two of ours with workers.
make_luns() {
    bytes=$((LUN_MIB * MIB))
    for store in $1; do
        make_store "$store"
        for side in lunbox control single runner fileio; do fill "/mnt/$store/$side"; done
    done
    start_runner
    for store in $1; do
        # qcow takes a file without its magic, of the LUN's size, for a raw image.
        mk_user "runner-$store" "qcow//mnt/$store/runner" "$bytes"
        show runner "$store" "user_0/runner-$store"

        kernel=$CONFIGFS/core/fileio_0/fileio-$store
        mkdir -p "$kernel" || fail "mkdir $kernel"
        put "fd_dev_name=/mnt/$store/fileio,fd_dev_size=$bytes,fd_buffered_io=1" "$kernel/control" || fail "fileio control"
        put "fileio-$store-0001" "$kernel/wwn/vpd_unit_serial" || fail "fileio serial number"
        put 1 "$kernel/enable" || fail "enabling fileio"
        show fileio "$store" "fileio_0/fileio-$store"
    done
    start_lunboxd
    start_single
    for store in $1; do
        for side in lunbox control; do
            alone "$DAEMON" mk_user "$side-$store" "file//mnt/$store/$side" "$bytes"
        done
        alone "$SINGLE" mk_user "single-$store" "raw//mnt/$store/single" "$bytes"
    done
    for store in $1; do
        for side in lunbox control single; do show "$side" "$store" "user_0/$side-$store"; done
    done
    [ -n "$(workers)" ] || fail "lunboxd has no worker"
}
