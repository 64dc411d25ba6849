# LUNs of the guest benchmark; sourced after lib.sh. Two daemons share one kernel here, which neither is made for:
# each has a lock file of its own, and while one makes a LUN the other is stopped, because each refuses every subtype
# that it does not know and the kernel takes the first answer.

LUN_MIB=${LUNBOX_BENCH_LUN_MIB:?}
RUNNER=
next_lun=0

runner_on_bus() {
    ! gone "$RUNNER" || {
        cat "$SCRATCH/runner.log"
        fail "tcmu-runner ended while starting"
    }
    dbus-send --system --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.GetNameOwner \
        string:org.kernel.TCMUService1 > /dev/null 2>&1
}

runner_version() { tcmu-runner -V 2>&1 | head -n 1; }

# start_runner: sets RUNNER; returns when it has read its handlers.
start_runner() {
    : > "$SCRATCH/runner.lock"
    : >> /run/tcmu.lock
    unshare -m sh -c "mount --bind $SCRATCH/runner.lock /run/tcmu.lock && exec tcmu-runner" \
        > "$SCRATCH/runner.log" 2>&1 &
    RUNNER=$!
    within 60 "tcmu-runner on the bus" runner_on_bus
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
            truncate -s "$((LUN_MIB * 4 + 64))M" /mnt/disk/image
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

# make_luns STORES: for each store one LUN of tcmu-runner, of the kernel's fileio and two of ours.
make_luns() {
    bytes=$((LUN_MIB * MIB))
    for store in $1; do
        make_store "$store"
        for side in lunbox control runner fileio; do fill "/mnt/$store/$side"; done
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
    kill -STOP "$RUNNER"
    for store in $1; do
        for side in lunbox control; do mk_user "$side-$store" "file//mnt/$store/$side" "$bytes"; done
    done
    kill -CONT "$RUNNER"
    for store in $1; do
        for side in lunbox control; do show "$side" "$store" "user_0/$side-$store"; done
    done
}
