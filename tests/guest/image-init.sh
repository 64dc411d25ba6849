#!/usr/bin/busybox sh
# First program of the guest, baked into the root image. It only finds the shared folder and hands over to the
# guest-init.sh that lies there, so that a change of the latter needs no new image.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
[ -e /proc/self ] || mount -t proc proc /proc
if grep -q hostfs /proc/filesystems; then
    share=$(sed -n 's/.*share=\([^ ]*\).*/\1/p' /proc/cmdline)
    mount -t hostfs -o "$share" none /host
else
    mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=none host /host
fi
exec /host/guest-init.sh
