#!/bin/sh
# A LUN whose file can not be written: it says so, mounts read-only, and refuses writes of every kind with 7/27/00.
# limit: 90
# machines: uml
. /host/tests/lib.sh

mkdir -p /srv/images /mnt/images /mnt/disk /tmp/tree
cp /usr/bin/d* /tmp/tree/
truncate -s 32M /srv/images/disk.img
must 30 mkfs.ext4 -q -F -d /tmp/tree /srv/images/disk.img
before=$(md5sum < /srv/images/disk.img)
mount --bind /srv/images /mnt/images
mount -o remount,bind,ro /mnt/images

start_lunboxd
mk_user writable file//tmp/writable.img $((32 * MIB))
map_loop writable 0
writable=$SG
log_mark
mk_user disk file//mnt/images/disk.img $((32 * MIB))
map_loop disk 1
within 5 "the log says that it is read-only" log_says 'read-only.*disk|disk.*read-only'
lunbox device show disk --json | grep -q '"read_only":true' || fail "lunbox does not say that it is read-only"

# Both have news of their own for whoever asks first.
for device in "$writable" "$SG"; do bounded 10 sg_turs --number=3 "/dev/$device" > /dev/null 2>&1; done

say "what initiators are told"
[ "$(cat "/sys/block/$DISK/ro")" = 1 ] || fail "Linux takes the disk for writable"
says 'WP=1' 10 sg_modes "/dev/$SG"
says 'WP=1' 10 sg_modes --six "/dev/$SG"
says 'WP=0' 10 sg_modes "/dev/$writable"

say "writes of every kind"
head -c 1024 /dev/urandom > "$SCRATCH/blocks"
printf '\0\26\0\20\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\10\0\0\0\0' > "$SCRATCH/unmap"
refused=0
# send DEVICE BYTES FILE CDB…: the command's status in sg3_utils' numbers.
send() {
    send_device=$1 send_bytes=$2 send_file=$3
    shift 3
    bounded 10 sg_raw --timeout=8 --send="$send_bytes" --infile="$send_file" "/dev/$send_device" "$@" > "$SCRATCH/raw" 2>&1
}
# write_kind NAME BYTES FILE CDB…: refused where the other LUN takes it. Status 7 is DATA PROTECT, 9 an unknown command.
write_kind() {
    kind=$1
    shift
    send "$writable" "$@"
    there=$?
    send "$SG" "$@"
    here=$?
    [ "$there" != 9 ] || { [ $here = 9 ] && say "$kind: not supported" && return; }
    [ $here = 7 ] && grep -q 'Write protected' "$SCRATCH/raw" || fail "$kind: status $here, $(cat "$SCRATCH/raw")"
    say "$kind: 7/27/00"
    refused=$((refused + 1))
}
blocks=$SCRATCH/blocks
write_kind 'WRITE(6)' 512 "$blocks" 0a 00 00 00 01 00
write_kind 'WRITE(10)' 512 "$blocks" 2a 00 00 00 00 00 00 00 01 00
write_kind 'WRITE(12)' 512 "$blocks" aa 00 00 00 00 00 00 00 00 01 00 00
write_kind 'WRITE(16)' 512 "$blocks" 8a 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00
write_kind 'WRITE AND VERIFY(10)' 512 "$blocks" 2e 00 00 00 00 00 00 00 01 00
write_kind 'WRITE AND VERIFY(16)' 512 "$blocks" 8e 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00
write_kind 'WRITE SAME(10)' 512 "$blocks" 41 00 00 00 00 00 00 00 01 00
write_kind 'WRITE SAME(16)' 512 "$blocks" 93 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00
write_kind 'COMPARE AND WRITE' 1024 "$blocks" 89 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00
write_kind 'UNMAP' 24 "$SCRATCH/unmap" 42 00 00 00 00 00 00 00 18 00
[ $refused -ge 4 ] || fail "only $refused kinds of writes are known at all"
if bounded 20 dd if="$blocks" of="/dev/$DISK" bs=512 count=1 oflag=direct 2> /dev/null; then fail "dd wrote"; fi
must 10 sg_sync "/dev/$SG"

say "mounted"
must 20 mount -o ro "/dev/$DISK" /mnt/disk
must 30 diff -r /tmp/tree /mnt/disk --exclude=lost+found
if touch /mnt/disk/x 2> /dev/null; then fail "a file was made"; fi
must 20 umount /mnt/disk
if bounded 20 mkfs.ext4 -q -F "/dev/$DISK" > /dev/null 2>&1; then fail "it was formatted"; fi

[ "$(md5sum < /srv/images/disk.img)" = "$before" ] || fail "the image has changed"
remove_cleanly disk 1
remove_cleanly writable 0
no_kernel_errors
stop_lunboxd || fail "lunboxd ended with status $?"
say "done"
