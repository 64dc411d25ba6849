#!/bin/sh
# A LUN from its creation to its deletion, as an operator and a file system use it.
# limit: 150
# machines: uml smp
. /host/tests/lib.sh

start_lunboxd
mk_user disk file//tmp/disk.img $((512 * MIB))
map_loop disk 0
say "LUN disk is /dev/$DISK, /dev/$SG"

say "SCSI: identity, capacity, mode pages"
says 'Product identification' 10 sg_inq "/dev/$SG"
for page in 0x00 0x80 0x83 0xb0 0xb1 0xb2; do must 10 sg_vpd --page=$page "/dev/$SG"; done
says 'disk-0001' 10 sg_vpd --page=0x80 "/dev/$SG"
says 'Number of logical blocks=1048576' 10 sg_readcap "/dev/$SG"
says 'Number of logical blocks=1048576' 10 sg_readcap --long "/dev/$SG"
says 'Caching' 10 sg_modes "/dev/$SG"
must 10 sg_modes --six "/dev/$SG"
must 10 sg_turs "/dev/$SG"

say "SCSI: unknown and vendor operation codes are refused at once"
for code in ff c0; do
    before=$(now)
    bounded 10 sg_raw --timeout=8 "/dev/$SG" $code 00 00 00 00 00 00 00 00 00 > "$SCRATCH/raw" 2>&1
    status=$?
    took=$(($(now) - before))
    cat "$SCRATCH/raw"
    # sg3_utils' exit status for ILLEGAL REQUEST, INVALID COMMAND OPERATION CODE.
    [ $status = 9 ] || fail "operation code $code: status $status instead of 9 (5/20/00)"
    [ $took -lt 300 ] || fail "operation code $code took $took hundredths of a second"
done

say "file system: partition, format, copy /usr/bin, mount again, compare"
echo 'start=2048, type=83' > "$SCRATCH/table"
must 30 sh -c "sfdisk --quiet /dev/$DISK < $SCRATCH/table"
within 10 "the partition's device" exists "/dev/${DISK}1"
must 60 mkfs.ext4 -q -F "/dev/${DISK}1"
mkdir -p /mnt/disk
must 20 mount "/dev/${DISK}1" /mnt/disk
must 120 cp -a /usr/bin /mnt/disk/
must 60 sync
must 60 umount /mnt/disk
# Nothing may come from the page cache.
echo 3 > /proc/sys/vm/drop_caches
must 20 mount "/dev/${DISK}1" /mnt/disk
must 120 diff -r --no-dereference /usr/bin /mnt/disk/bin
must 60 umount /mnt/disk
must 60 e2fsck -fn "/dev/${DISK}1"

say "fio: verified random writes of 512 B to 1 MiB, queue depth 32"
must 240 fio --name=mixed --filename="/dev/$DISK" --direct=1 --ioengine=libaio --rw=randwrite --iodepth=32 \
    --bsrange=512-1m --blockalign=512 --size=96M --verify=crc32c --do_verify=1 --verify_fatal=1

say "deleting it"
remove_cleanly disk 0
no_kernel_errors
stop_lunboxd || fail "lunboxd ended with status $?"
say "done"
