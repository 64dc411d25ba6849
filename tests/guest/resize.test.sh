#!/bin/sh
# A LUN grows while its file system is mounted and in use: Linux learns the size, resize2fs and xfs_growfs grow online,
# and what stands on it is as it was.
# limit: 120
# machines: uml
. /host/tests/lib.sh

start_lunboxd
mkdir -p /mnt/disk

# is_size DISK BYTES: what Linux takes the disk's size for.
is_size() { [ "$(cat "/sys/block/$1/size")" = $(($2 / 512)) ]; }
# room: bytes of the mounted file system.
room() { df --block-size=1 --output=size /mnt/disk | tail -n 1 | tr -d ' '; }

# grow NAME SIZE: changes the size under load; Linux looks again when it is told to, as an administrator does.
grow() {
    must 20 put "$2" "$CONFIGFS/core/user_0/$1/attrib/dev_size"
    must 20 put 1 "/sys/block/$DISK/device/rescan"
    within 20 "Linux knows the new size" is_size "$DISK" "$2"
}

# The command that grows a file system of each kind; DISK is known only when it runs.
grow_ext4() { resize2fs "/dev/$DISK"; }
grow_xfs() { xfs_growfs -d /mnt/disk; }

# grown_online KIND MKFS…: a file system of 320 MiB becomes one of 640 MiB under load.
grown_online() {
    kind=$1
    shift
    say "$kind"
    mk_user "$kind" "file//tmp/$kind.img" $((320 * MIB))
    map_loop "$kind" 0
    attentions_taken "$SG"
    must 60 "$@" "/dev/$DISK"
    must 20 mount "/dev/$DISK" /mnt/disk
    must 30 cp -a /usr/bin /mnt/disk/programs
    must 30 dd if=/dev/zero of=/mnt/disk/load bs=1M count=24
    before=$(room)
    start_file_load /mnt/disk/load "$DISK" "$kind"
    load=$load_pid
    grow "$kind" $((640 * MIB))
    wait_for_io "$DISK"
    [ "$(room)" = "$before" ] || fail "the file system has grown by itself"
    must 60 "grow_$kind"
    [ "$(room)" -gt $((before + 250 * MIB)) ] || fail "room: $before before, $(room) after"
    stop_load "$kind" "$load"
    # Data beyond the old end.
    must 60 dd if=/dev/urandom of=/mnt/disk/beyond bs=1M count=280
    sum=$(md5sum < /mnt/disk/beyond)
    must 60 umount /mnt/disk
    must 20 mount "/dev/$DISK" /mnt/disk
    [ "$(md5sum < /mnt/disk/beyond)" = "$sum" ] || fail "other data beyond the old end"
    must 30 diff -r --no-dereference /usr/bin /mnt/disk/programs
    must 60 umount /mnt/disk
}

grown_online ext4 mkfs.ext4 -q -F
must 60 e2fsck -f -n "/dev/$DISK"

say "a file system that would not fit any more: the device refuses what lies beyond its end, Linux reports it"
must 20 put $((64 * MIB)) "$CONFIGFS/core/user_0/ext4/attrib/dev_size"
must 20 put 1 "/sys/block/$DISK/device/rescan"
within 20 "Linux knows the smaller size" is_size "$DISK" $((64 * MIB))
if bounded 20 sg_dd if="/dev/$SG" of=/dev/null bs=512 count=1 skip=$((64 * MIB / 512)) > "$SCRATCH/beyond" 2>&1; then
    fail "read beyond the end"
fi
remove_cleanly ext4 0

grown_online xfs mkfs.xfs -q -f
must 60 xfs_repair -n "/dev/$DISK"
remove_cleanly xfs 0
no_kernel_errors
stop_lunboxd || fail "lunboxd ended with status $?"
say "done"
