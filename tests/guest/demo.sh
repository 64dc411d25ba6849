#!/bin/sh
# What `cargo xtask demo` shows: an operator's way from nothing to a disk in use. Every command is shown as it runs.
. /host/tests/lib.sh
step() { printf '\n-- %s\n' "$*"; }
# shown COMMAND-LINE MEANING: runs the line with a time limit.
shown() {
    printf '   # %s\n   $ %s\n' "$2" "$1"
    bounded 180 sh -c "$1" > "$SCRATCH/shown" 2>&1
    status=$?
    sed 's/^/     /' "$SCRATCH/shown"
    [ $status = 0 ] || fail "it ended with status $status"
}
# rate NAME READWRITE BLOCK DEPTH
rate() {
    bounded 60 fio --name="$1" --filename="/dev/$DISK" --direct=1 --ioengine=libaio --rw="$2" --bs="$3" \
        --iodepth="$4" --time_based --runtime=3 --size=192M --minimal > "$SCRATCH/rate" 2>&1 || {
        cat "$SCRATCH/rate"
        fail "fio $1"
    }
    # fio's terse format, version 3: bandwidth (KiB/s) and IOPS are fields 7, 8 for reads and 48, 49 for writes.
    awk -F ';' -v name="$1" -v write="$(case $2 in *write) echo 1 ;; *) echo 0 ;; esac)" \
        '{ b = write ? $48 : $7; i = write ? $49 : $8
           printf "     %-34s %8d IOPS %8.1f MiB/s\n", name, i, b / 1024 }' "$SCRATCH/rate"
}

step "The kernel: $(uname -sr), $(nproc) processor(s). The daemon and its sandboxed handlers start"
echo "   \$ lunboxd --handler-path /host/handlers"
start_lunboxd
sed 's/^/     /' "$LOG"

store=$CONFIGFS/core/user_0/first
step "An operator makes a LUN by hand, through configfs"
shown "mkdir -p $store" "a backstore of the kernel's TCM-User module, named first"
shown "printf dev_config=file//tmp/first.img > $store/control" "served by the handler file, stored in /tmp/first.img"
shown "printf dev_size=$((256 * MIB)) > $store/control" "256 MiB"
shown "echo 1 > $store/enable" "the kernel asks lunboxd; it opens the file and gives it to a fresh sandbox"
shown "printf first-0001 > $store/wwn/vpd_unit_serial" "the serial number that initiators see"
map_loop first 0
echo "   # mapped to this machine itself by the loopback fabric: /dev/$DISK"

step "What Linux sees"
shown "lsscsi --generic --size" "the disk"
shown "dmesg | grep -E '\\[$DISK\\]|scsi.*LIO-ORG' | tail -n 6" "the kernel's own words"
shown "sg_vpd --page=0x80 /dev/$SG" "the serial number, asked over SCSI"

step "A file system on it"
shown "mkfs.ext4 -q -F /dev/$DISK" "formatted"
shown "mkdir -p /mnt/first && mount /dev/$DISK /mnt/first" "mounted"
shown "cp -a /usr/bin /mnt/first/ && sync" "a tree copied ($(du -sm /usr/bin | cut -f1) MiB)"
shown "umount /mnt/first && echo 3 > /proc/sys/vm/drop_caches" "unmounted, caches dropped"
shown "mount /dev/$DISK /mnt/first" "mounted again"
shown "diff -r --no-dereference /usr/bin /mnt/first/bin && echo identical" "read back and compared"
shown "umount /mnt/first && e2fsck -fn /dev/$DISK" "checked"

step "Verified random writes, 512 B to 1 MiB, queue depth 32"
shown "fio --name=verify --filename=/dev/$DISK --direct=1 --ioengine=libaio --rw=randwrite --iodepth=32 --bsrange=512-1m --blockalign=512 --size=64M --verify=crc32c --do_verify=1 --verify_fatal=1 --output-format=terse > /tmp/fio.out && echo 'every checksum is right'" "each block carries a checksum and is read back"

step "How fast, in this guest (compare with other figures of the same guest only)"
rate "4 KiB random read, depth 1" randread 4k 1
rate "4 KiB random read, depth 32" randread 4k 32
rate "4 KiB random write, depth 32" randwrite 4k 32
rate "1 MiB read, depth 4" read 1m 4
rate "1 MiB write, depth 4" write 1m 4

step "It is deleted"
remove_cleanly first 0
echo "   the disk, its UIO device and the backstore are gone; lunboxd serves on"
no_kernel_errors
stop_lunboxd || fail "lunboxd ended with status $?"
