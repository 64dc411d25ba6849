#!/bin/sh
# Thin provisioning as its users meet it: file systems and fio give blocks back, the backing file really shrinks, and what
# was given back reads as zeroes.
# limit: 150
# machines: uml
. /host/tests/lib.sh

# A file system with holes and zero ranges below the LUN; the guest's root has both, its tmpfs only holes.
FOLDER=/srv/images
mkdir -p $FOLDER /mnt/disk
start_lunboxd

# allocated FILE: bytes that the file occupies.
allocated() { echo $(($(stat -c %b "$1") * 512)); }
below() { [ "$(allocated "$1")" -lt "$2" ]; }
queue() { cat "/sys/block/$DISK/queue/$1"; }

say "what Linux learns of the disk"
mk_user trim file/$FOLDER/trim.img $((512 * MIB))
map_loop trim 0
attentions_taken "$SG"
IMAGE=$FOLDER/trim.img
[ "$(queue discard_granularity)" -ge 512 ] || fail "discard_granularity is $(queue discard_granularity)"
[ "$(queue discard_max_bytes)" -ge $((4 * MIB)) ] || fail "discard_max_bytes is $(queue discard_max_bytes)"
[ "$(queue write_zeroes_max_bytes)" -gt 0 ] || fail "write_zeroes_max_bytes is 0"
[ "$(queue rotational)" = 0 ] || say "the disk says that it rotates"
mode=$(cat /sys/class/scsi_disk/*:0:1:0/provisioning_mode)
[ "$mode" = unmap ] || fail "Linux would trim by $mode"
[ "$(cat /sys/class/scsi_disk/*:0:1:0/thin_provisioning)" = 1 ] || fail "the disk is not thin"

say "blkdiscard"
must 60 dd if=/dev/urandom of="/dev/$DISK" bs=1M count=64 oflag=direct
must 20 sg_sync "/dev/$SG"
[ "$(allocated $IMAGE)" -ge $((64 * MIB)) ] || fail "64 MiB written, $(allocated $IMAGE) occupied"
# A part of it, not aligned to anything but blocks: what is beside it stays.
must 20 dd if="/dev/$DISK" of=/tmp/before bs=64k count=64 iflag=direct
must 20 blkdiscard --offset $((8 * 512)) --length $((2 * MIB)) "/dev/$DISK"
must 20 dd if="/dev/$DISK" of=/tmp/after bs=64k count=64 iflag=direct
must 20 cmp -n $((8 * 512)) /tmp/before /tmp/after
must 20 cmp -n $((2 * MIB)) -i $((8 * 512)):0 /tmp/after /dev/zero
must 20 cmp -i $((8 * 512 + 2 * MIB)) -n $((4 * MIB - 8 * 512 - 2 * MIB)) /tmp/before /tmp/after
below $IMAGE $((63 * MIB)) || fail "2 MiB discarded, $(allocated $IMAGE) still occupied"
must 30 blkdiscard "/dev/$DISK"
below $IMAGE $MIB || fail "all discarded, $(allocated $IMAGE) still occupied"
must 20 cmp -n $((64 * MIB)) "/dev/$DISK" /dev/zero

say "blkdiscard -z"
must 60 dd if=/dev/urandom of="/dev/$DISK" bs=1M count=16 oflag=direct
must 30 blkdiscard -z --length $((16 * MIB)) "/dev/$DISK"
must 20 cmp -n $((16 * MIB)) "/dev/$DISK" /dev/zero
must 30 blkdiscard "/dev/$DISK"

# trimmed_by_filesystem KIND MKFS…: making it discards what was there; fstrim gives deleted files back; the rest stays.
trimmed_by_filesystem() {
    kind=$1
    shift
    say "$kind"
    must 60 dd if=/dev/urandom of="/dev/$DISK" bs=1M seek=128 count=96 oflag=direct
    must 60 "$@" "/dev/$DISK"
    below $IMAGE $((64 * MIB)) || fail "mkfs of $kind left $(allocated $IMAGE) occupied"
    must 20 mount "/dev/$DISK" /mnt/disk
    must 30 cp -a /usr/bin /mnt/disk/programs
    must 60 dd if=/dev/urandom of=/mnt/disk/big bs=1M count=128
    must 30 sync
    full=$(allocated $IMAGE)
    must 20 rm /mnt/disk/big
    must 30 sync
    must 60 fstrim -v /mnt/disk
    cat "$SCRATCH/must"
    below $IMAGE $((full - 120 * MIB)) || fail "fstrim: $full before, $(allocated $IMAGE) after"
    must 30 umount /mnt/disk
    must 20 mount "/dev/$DISK" /mnt/disk
    must 30 diff -r --no-dereference /usr/bin /mnt/disk/programs
    must 30 umount /mnt/disk
}
trimmed_by_filesystem ext4 mkfs.ext4 -q -F
must 60 e2fsck -f -n "/dev/$DISK"
trimmed_by_filesystem xfs mkfs.xfs -q -f
must 60 xfs_repair -n "/dev/$DISK"

say "fio trims what it wrote, and verifies both"
# Each block is discarded and then written; at the end all that was written is verified.
must 60 fio --name=trimwrite --filename="/dev/$DISK" --direct=1 --ioengine=libaio --iodepth=8 --rw=randtrimwrite \
    --bs=16k --size=32M --randrepeat=0 --verify=crc32c --do_verify=1 --verify_fatal=1
# Blocks among written ones are discarded; what is read back is zeroes there, and elsewhere what was written.
must 30 dd if=/dev/urandom of=/tmp/written bs=1M count=16
must 30 dd if=/tmp/written of="/dev/$DISK" bs=1M oflag=direct
must 60 fio --name=trim --filename="/dev/$DISK" --direct=1 --ioengine=libaio --iodepth=8 --rw=randtrim \
    --bs=64k --size=8M --offset=4M --io_size=8M --randrepeat=0
must 20 cmp -n $((4 * MIB)) /tmp/written "/dev/$DISK"
must 20 cmp -n $((8 * MIB)) -i $((4 * MIB)):0 "/dev/$DISK" /dev/zero
must 20 cmp -n $((4 * MIB)) -i $((12 * MIB)) /tmp/written "/dev/$DISK"
trims=$(awk '{ print $12 }' "/sys/block/$DISK/stat")
[ "$trims" -gt 500 ] || fail "only $trims discards reached the disk"
say "$trims discards"

say "an extent costs the same, however many blocks it has"
mk_user huge file/$FOLDER/huge.img $((1024 * 1024 * MIB))
remove_cleanly trim 0
map_loop huge 0
attentions_taken "$SG"
must 20 dd if=/dev/urandom of="/dev/$DISK" bs=1M count=4 oflag=direct
before=$(now)
must 20 blkdiscard "/dev/$DISK"
say "1 TiB discarded in $(($(now) - before)) hundredths of a second"
below $FOLDER/huge.img $MIB || fail "$(allocated $FOLDER/huge.img) still occupied"
must 20 dd if=/dev/urandom of="/dev/$DISK" bs=1M count=4 oflag=direct
must 30 blkdiscard -z "/dev/$DISK"
must 20 cmp -n $((4 * MIB)) "/dev/$DISK" /dev/zero
remove_cleanly huge 0

no_kernel_errors
stop_lunboxd || fail "lunboxd ended with status $?"
say "done"
