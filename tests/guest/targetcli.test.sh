#!/bin/sh
# targetcli-fb on top of lunboxd: every backstore type is listed with its help text; create, resize, save, clear,
# restore and delete do what they do with tcmu-runner, and restoring ends without the errors that it left.
# limit: 150
# machines: uml
. /host/tests/lib.sh
. /host/tests/lib-bus.sh

# tcli COMMAND…: one command of targetcli; its output is in $SCRATCH/tcli, without colours and its start-up chatter.
tcli() {
    bounded 60 targetcli "$@" > "$SCRATCH/tcli.raw" 2>&1
    tcli_status=$?
    sed 's/\x1b\[[0-9;]*m//g; /^Warning: Could not load preferences/d; /UserWarning: Cannot set dbroot/d; /^  warn(/d' \
        "$SCRATCH/tcli.raw" > "$SCRATCH/tcli"
    return $tcli_status
}
tcli_ok() { tcli "$@" || fail "\`targetcli $*\` ended with $tcli_status: $(cat "$SCRATCH/tcli")"; }
shows() { grep -Eq -- "$1" "$SCRATCH/tcli" || fail "no line like /$1/ in: $(cat "$SCRATCH/tcli")"; }
shows_not() { ! grep -Eq -- "$1" "$SCRATCH/tcli" || fail "a line like /$1/ in: $(cat "$SCRATCH/tcli")"; }

# Without a daemon there is nothing to list, and targetcli does not hang.
use_our_policy
tcli_ok ls /backstores
shows_not 'user:'

start_lunboxd
within 10 "lunboxd owns its bus name" bus_name_owned "$BUS_NAME"

say "every subtype, with its help text"
tcli_ok ls /backstores
[ "$(sed -n 's/.*o- user:\([a-z_]*\) .*/\1/p' "$SCRATCH/tcli" | sort | xargs)" = 'file mirror null' ] ||
    fail "targetcli lists $(cat "$SCRATCH/tcli")"
for subtype in file mirror null; do
    bus "$BUS_ROOT/$subtype" org.freedesktop.DBus.Properties.Get "$BUS_NAME" ConfigDesc > "$SCRATCH/help"
    # The first words of the text, as gdbus quotes it.
    words=$(sed "s/^(<['\"]//; s/\\\\n.*//; s/['\"]>,)$//" "$SCRATCH/help" | cut -c1-60)
    tcli_ok "/backstores/user:$subtype" help create
    shows '^CFGSTRING FORMAT'
    [ "${#words}" -gt 10 ] && grep -Fq -- "$words" "$SCRATCH/tcli" || fail "no help text of $subtype ($words): $(cat "$SCRATCH/tcli")"
done

say "created, and refused with the reason"
tcli_ok /backstores/user:file create name=tc1 size=64M cfgstring=/tmp/tc1.img
shows 'Created user-backed storage object tc1 size 67108864'
tcli_ok /backstores/user:null create name=tn1 size=64M cfgstring=
if tcli /backstores/user:file create name=tc2 size=64M cfgstring=relative.img; then fail "a relative path was accepted"; fi
[ "$tcli_status" = 1 ] || fail "refused with status $tcli_status instead of 1"
shows 'cfgstring invalid: .*absolute'
cat "$SCRATCH/tcli"
# What only opening finds out is the creation's error, as it was.
if tcli /backstores/user:file create name=tc3 size=64M cfgstring=/no/such/folder/x.img; then fail "no such folder, accepted"; fi
shows 'UserBackedStorageObject creation failed'
for name in tc2 tc3; do
    [ -z "$(find $CONFIGFS/core -maxdepth 2 -name $name)" ] || fail "$name was left in configfs"
done

tcli_ok /loopback create naa.5001405bbbbbbbb1
tcli_ok /loopback/naa.5001405bbbbbbbb1/luns create /backstores/user:file/tc1
shows 'Created LUN 0'
DISK='' SG=''
within 20 "a disk" disk_of_lun 0
attentions_taken "$SG"
must 20 dd if=/dev/urandom of=/tmp/pattern bs=64k count=16
must 20 dd if=/tmp/pattern of="/dev/$DISK" bs=64k oflag=direct
tcli_ok ls /
shows 'o- tc1 .*\[/tmp/tc1.img \(64.0MiB\) activated\]'
shows 'lun0 .*user/tc1'

say "resized: the initiator learns it"
tcli_ok /backstores/user:file/tc1 set attribute dev_size=$((96 * MIB))
bounded 10 sg_turs -v "/dev/$SG" > "$SCRATCH/turs" 2>&1
grep -qi 'capacity data has changed\|2a.*09' "$SCRATCH/turs" || fail "no unit attention: $(cat "$SCRATCH/turs")"
says "Device size: $((96 * MIB)) bytes" 20 sg_readcap "/dev/$SG"
if tcli /backstores/user:file/tc1 set attribute dev_size=12345; then fail "a size of 12345 was accepted"; fi
says "Device size: $((96 * MIB)) bytes" 20 sg_readcap "/dev/$SG"

say "saved, cleared, restored"
tcli_ok saveconfig /tmp/save.json
for fact in '"config": "file//tmp/tc1.img"' '"size": 100663296' '"config": "null/"' '"plugin": "user"'; do
    grep -Fq "$fact" /tmp/save.json || fail "the saved configuration has no $fact"
done
tcli_ok clearconfig confirm=True
[ -z "$(find /sys/class/uio/ -name 'uio[0-9]*')" ] || fail "UIO devices were left behind"
tcli restoreconfig /tmp/save.json
cat "$SCRATCH/tcli"
[ "$tcli_status" = 0 ] || fail "restoreconfig ended with $tcli_status"
shows_not 'recoverable errors|Cannot set'
DISK='' SG=''
within 20 "the disk again" disk_of_lun 0
attentions_taken "$SG"
says "Device size: $((96 * MIB)) bytes" 20 sg_readcap "/dev/$SG"
must 20 dd if="/dev/$DISK" of=/tmp/read-back bs=64k count=16 iflag=direct
cmp /tmp/pattern /tmp/read-back || fail "other data after restoring"
tcli_ok ls /backstores
shows 'o- tc1 .*activated'
shows 'o- tn1 '

say "deleted"
tcli_ok /loopback delete naa.5001405bbbbbbbb1
tcli_ok /backstores/user:file delete tc1
tcli_ok /backstores/user:null delete tn1
[ -z "$(find /sys/class/uio/ -name 'uio[0-9]*')" ] || fail "UIO devices were left behind"
no_kernel_errors
stop_lunboxd || fail "lunboxd ended with status $?"
say "done"
