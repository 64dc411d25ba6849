#!/bin/sh
# The Debian package in the place of the distribution's tcmu-runner: installed over it, found as it, removed, purged.
# limit: 150
# machines: uml
. /host/tests/lib.sh

PACKAGE=/host/lunbox.deb
BUS=org.kernel.TCMUService1
[ -f "$PACKAGE" ] || fail "there is no $PACKAGE; \`cargo xtask deb\` builds it"

status_of() { dpkg-query -W -f '${db:Status-Status}' "$1" 2> /dev/null; }
# As nobody, with the bus and nothing else.
nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
objects() {
    gdbus call --system --timeout 30 --dest $BUS --object-path /org/kernel/TCMUService1 \
        --method org.freedesktop.DBus.ObjectManager.GetManagedObjects
}
# register [AS]: asks for a subtype whose handler does not exist.
register() {
    "$@" gdbus call --system --timeout 10 --dest $BUS --object-path /org/kernel/TCMUService1/HandlerManager1 \
        --method $BUS.HandlerManager1.RegisterHandler made_up 'text'
}

say "over the distribution's tcmu-runner, whose configuration has been edited"
[ "$(status_of tcmu-runner)" = installed ] || fail "the image has no tcmu-runner to take the place of"
echo '# by the administrator' >> /etc/tcmu/tcmu.conf
must 60 dpkg --force-confdef --force-confold -i "$PACKAGE"
[ "$(status_of lunbox)" = installed ] || fail "lunbox is $(status_of lunbox)"
[ "$(status_of tcmu-runner)" != installed ] || fail "tcmu-runner is still there"
grep -q '^# by the administrator' /etc/tcmu/tcmu.conf || fail "the administrator's tcmu.conf was overwritten"
cmp -s /host/install/tcmu.conf /etc/tcmu/tcmu.conf.dpkg-dist || fail "our tcmu.conf is not beside the administrator's"
cmp -s /host/install/dbus-policy.conf /etc/dbus-1/system.d/tcmu-runner.conf || fail "the old bus policy is in force"
cmp -s /host/install/logrotate.conf /etc/logrotate.d/tcmu-runner || fail "logrotate has the old file"
[ "$(readlink -f /usr/bin/tcmu-runner)" = /usr/bin/lunboxd ] || fail "/usr/bin/tcmu-runner is not ours"
for unit in /usr/lib/systemd/system/tcmu-runner.service /etc/systemd/system/tcmu-runner.service \
    /etc/systemd/system/multi-user.target.wants/lunboxd.service; do
    [ "$(readlink -f $unit)" = "$(readlink -f /usr/lib/systemd/system/lunboxd.service)" ] || fail "$unit is not ours"
done
must 20 logrotate --debug --state "$SCRATCH/logrotate" /etc/logrotate.d/tcmu-runner
! grep -i '^error' "$SCRATCH/must" || fail "logrotate does not like its file"

say "found as gluster-block looks for it: by process and by version"
version=$(tcmu-runner --version | awk 'END { print $NF }')
dpkg --compare-versions "$version" ge 1.6.2 || fail "\`tcmu-runner --version\` ends with \"$version\""
log_before=$(wc -l < "$LOG")
tcmu-runner >> "$LOG" 2>&1 &
DAEMON=$!
within 60 "tcmu-runner, which is lunboxd, says that it is ready" daemon_is_ready
[ "$(pgrep -x tcmu-runner)" = "$DAEMON" ] || fail "processes tcmu-runner: $(pgrep -x tcmu-runner), not $DAEMON"
[ "$(pidof tcmu-runner)" = "$DAEMON" ] || fail "pidof finds $(pidof tcmu-runner), not $DAEMON"

say "by targetcli"
says 'user:file' 30 targetcli ls /backstores
must 30 targetcli /backstores/user:file create name=disk size=64M cfgstring=/tmp/disk.img
[ -n "$(uio_of disk)" ] || fail "targetcli's disk has no UIO device"

say "installed once more while it serves"
must 60 dpkg --force-confdef --force-confold -i "$PACKAGE"
grep -q '^# by the administrator' /etc/tcmu/tcmu.conf || fail "the second time tcmu.conf was overwritten"
daemon_alive
[ -n "$(uio_of disk)" ] || fail "the disk is gone"
must 30 targetcli /backstores/user:file delete disk

say "the bus lets everybody look, and root alone change"
must 20 nobody gdbus introspect --system --dest $BUS --object-path /org/kernel/TCMUService1
must 20 nobody gdbus call --system --timeout 10 --dest $BUS --object-path /org/kernel/TCMUService1 \
    --method org.freedesktop.DBus.ObjectManager.GetManagedObjects
! register nobody > "$SCRATCH/denied" 2>&1 || fail "nobody registered a handler"
grep -q AccessDenied "$SCRATCH/denied" || fail "nobody was answered $(cat "$SCRATCH/denied")"
register > "$SCRATCH/registered" 2>&1 || fail "root may not ask: $(cat "$SCRATCH/registered")"
grep -q 'Cannot find handler bus name' "$SCRATCH/registered" || fail "root was answered $(cat "$SCRATCH/registered")"

say "logrotate: the daemon goes on in a new file"
[ -s /var/log/tcmu-runner.log ] || fail "there is no log /var/log/tcmu-runner.log"
must 20 logrotate --force --state "$SCRATCH/logrotate" /etc/logrotate.d/tcmu-runner
new_log() { [ -e /var/log/tcmu-runner.log ]; }
within 10 "a new log" new_log
daemon_alive
stop_lunboxd || fail "the daemon ended with status $?"

say "started by the bus when somebody asks"
within 10 "the bus name is free" sh -c '! pgrep -x tcmu-runner'
bounded 40 objects > "$SCRATCH/objects" 2>&1 || fail "activation: $(cat "$SCRATCH/objects")"
grep -q /org/kernel/TCMUService1/file "$SCRATCH/objects" || fail "activated, without handlers: $(cat "$SCRATCH/objects")"
DAEMON=$(pgrep -x tcmu-runner) || fail "the bus started something else"
kill -TERM "$DAEMON"
within 20 "it ends after SIGTERM" gone "$DAEMON"

say "removed: programs are gone, configuration stays; purged: nothing of it stays"
dpkg -L lunbox > "$SCRATCH/files"
must 60 dpkg -r lunbox
for path in /etc/systemd/system/tcmu-runner.service /etc/systemd/system/multi-user.target.wants/lunboxd.service; do
    [ ! -L $path ] || fail "$path is left, and the original's unit can not be enabled"
done
[ ! -e /usr/bin/lunboxd ] && [ ! -L /usr/bin/tcmu-runner ] || fail "programs are left"
grep -q '^# by the administrator' /etc/tcmu/tcmu.conf || fail "removing took the administrator's tcmu.conf"
must 60 dpkg -P lunbox
while read -r path; do
    # Folders are others', too.
    [ -d "$path" ] || { [ ! -e "$path" ] && [ ! -L "$path" ]; } || fail "$path is left"
done < "$SCRATCH/files"
for path in /usr/lib/lunbox /usr/share/doc/lunbox /var/cache/lunbox /run/lunbox /var/log/tcmu-runner.log \
    /etc/systemd/system/tcmu-runner.service /etc/systemd/system/multi-user.target.wants/lunboxd.service \
    /usr/lib/systemd/system/tcmu-runner.service; do
    [ ! -e "$path" ] && [ ! -L "$path" ] || fail "$path is left"
done
[ -z "$(ls -d /var/log/tcmu-runner.log.* /etc/tcmu/tcmu.conf* 2> /dev/null)" ] || fail "rotated logs or configuration are left"
say "done"
