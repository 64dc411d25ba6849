#!/bin/busybox sh
# First program of the qemu guest: loads the modules that the root disk needs and puts a writable layer in memory
# over the read-only image, which any number of guests share. User-Mode Linux does not need it.
export PATH=/bin
busybox mount -t devtmpfs dev /dev
busybox mount -t proc proc /proc
while read -r module; do busybox insmod "/modules/$module"; done < /modules/order
tries=0
until [ -b /dev/vda ]; do
    tries=$((tries + 1))
    [ "$tries" -gt 1000 ] && { echo "initramfs: no /dev/vda" > /dev/kmsg; exec busybox poweroff -f; }
    busybox usleep 10000
done
busybox mount -t ext4 -o ro,noatime /dev/vda /lower
busybox mount -t tmpfs -o size=75% upper /upper
busybox mkdir /upper/files /upper/work
busybox mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work root /newroot
busybox mount --move /dev /newroot/dev
busybox mount --move /proc /newroot/proc
exec busybox switch_root /newroot /sbin/image-init
