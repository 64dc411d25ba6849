#!/bin/sh
# libiscsi's conformance suite against a LUN behind the kernel's iSCSI target: what passed passes, and libiscsi/failures.md
# has the reason of everything else.
# limit: 240
# machines: uml
. /host/tests/lib.sh
IQN=iqn.2003-01.org.lunbox:suite
PORTAL=127.0.0.1:3260
TPG=$CONFIGFS/iscsi/$IQN/tpgt_1

must 20 modprobe iscsi_target_mod
mkdir -p /srv/images /mnt/images
truncate -s 64M /srv/images/read-only.img
mount --bind /srv/images /mnt/images
mount -o remount,bind,ro /mnt/images

start_lunboxd
mk_user disk file//tmp/disk.img $((256 * MIB))
mk_user read-only file//mnt/images/read-only.img $((64 * MIB))

mkdir -p "$CONFIGFS/iscsi"
mkdir -p "$TPG/np/$PORTAL" || fail "the portal"
put 0 "$TPG/attrib/authentication"
put 1 "$TPG/attrib/generate_node_acls"
put 1 "$TPG/attrib/cache_dynamic_acls"
put 0 "$TPG/attrib/demo_mode_write_protect"
lun=0
for name in disk read-only; do
    mkdir -p "$TPG/lun/lun_$lun"
    bounded 20 ln -s "$CONFIGFS/core/user_0/$name" "$TPG/lun/lun_$lun/$name" || fail "LUN $lun"
    lun=$((lun + 1))
done
put 1 "$TPG/enable"
says "$IQN" 20 iscsi-ls "iscsi://$PORTAL"

bounded 230 libiscsi-suite --target "iscsi://$PORTAL/$IQN/0" --read-only-target "iscsi://$PORTAL/$IQN/1" \
    --list /host/tests/libiscsi/passes.txt --limit 30 --keep "${LUNBOX_KEEP:-/tmp/suite}" > "$SCRATCH/suite" 2>&1
status=$?
cat "$SCRATCH/suite"
[ $status = 0 ] || fail "a test of libiscsi/passes.txt no longer passes"
daemon_alive

put 0 "$TPG/enable"
lun=0
for name in disk read-only; do
    must 20 rm "$TPG/lun/lun_$lun/$name"
    must 20 rmdir "$TPG/lun/lun_$lun"
    rm_user "$name"
    lun=$((lun + 1))
done
stop_lunboxd || fail "lunboxd ended with status $?"
if dmesg | grep -E 'blocked for more|BUG:|Oops:|Call Trace:'; then fail "the kernel is in trouble"; fi
say "done"
