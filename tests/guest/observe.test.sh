#!/bin/sh
# What operators see of a daemon at work: metrics where tcmu.conf says, rates, single commands, and what the doctor
# finds, also when something is missing.
# limit: 120
# machines: uml
. /host/tests/lib.sh
. /host/tests/lib-bus.sh
CONF=/etc/tcmu/tcmu.conf
METRICS=/run/lunbox/metrics.sock
POLICY=/etc/dbus-1/system.d/tcmu-runner.conf
REPORT=/tmp/report.tar.gz

mkdir -p /etc/tcmu /usr/lib/lunbox
ln -s "$HANDLERS" /usr/lib/lunbox/handlers
echo 'log_level = 3' > "$CONF"
use_our_policy
start_lunboxd
within 10 "lunboxd owns its bus name" bus_name_owned "$BUS_NAME"
mk_user disk file//tmp/disk.img $((16 * MIB))
map_loop disk 0

# scrape: asks as Prometheus does; the answer is in $SCRATCH/metrics.
cat > "$SCRATCH/scrape.py" << 'PYTHON'
import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.settimeout(20)
connection.connect(sys.argv[1])
connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
answer = b""
while part := connection.recv(65536):
    answer += part
head, _, body = answer.partition(b"\r\n\r\n")
assert head.startswith(b"HTTP/1.1 200 "), head
assert b"text" in head.lower() and b"chunked" not in head.lower(), head
sys.stdout.buffer.write(body)
PYTHON
scrape() {
    bounded 20 python3 "$SCRATCH/scrape.py" "$METRICS" > "$SCRATCH/metrics" 2> "$SCRATCH/scraped" || {
        cat "$SCRATCH/scraped"
        fail "no metrics"
    }
}
# sample SERIES: its value in the last scrape.
sample() {
    awk -v series="$1 " 'index($0, series) == 1 { print $NF; found = 1 } END { exit !found }' "$SCRATCH/metrics" ||
        {
            cat "$SCRATCH/metrics"
            fail "no series $1"
        }
}
# An answer is kept for a second, so that what has just happened is told a little later.
# grew SERIES BEFORE LEAST: scrapes; whether it is as much more now.
grew() {
    scrape
    [ "$(sample "$1")" -ge "$(($2 + $3))" ]
}
# told SERIES VALUE: scrapes; whether it is that.
told() {
    scrape
    [ "$(sample "$1")" = "$2" ]
}

say "metrics, switched on while it serves"
[ ! -e "$METRICS" ] || fail "metrics are served and nobody has asked for them"
echo "metrics = unix:$METRICS" >> "$CONF"
within 5 "metrics are served" [ -S "$METRICS" ]
[ "$(stat -c %a "$METRICS")" = 600 ] || fail "$METRICS has mode $(stat -c %a "$METRICS")"
says "^metrics +unix:$METRICS" 10 lunbox status
says "^bus +up, as $BUS_NAME" 10 lunbox status

say "counters and histograms follow real commands"
reads='lunbox_commands_total{device="user_0/disk",class="read"}'
writes='lunbox_commands_total{device="user_0/disk",class="write"}'
written='lunbox_data_bytes_total{device="user_0/disk",direction="write"}'
scrape
reads_before=$(sample "$reads") writes_before=$(sample "$writes") written_before=$(sample "$written")
must 20 dd if=/dev/zero of="/dev/$DISK" bs=64k count=64 oflag=direct
must 20 dd if="/dev/$DISK" of=/dev/null bs=64k count=32 iflag=direct
within 10 "64 writes are counted" grew "$writes" "$writes_before" 64
within 10 "32 reads are counted" grew "$reads" "$reads_before" 32
[ "$(sample "$written")" = $((written_before + 4 * MIB)) ] ||
    fail "4 MiB were written, and $written_before became $(sample "$written")"
for family in lunbox_queue_seconds lunbox_service_seconds; do
    count=$(sample "${family}_count{device=\"user_0/disk\",class=\"write\"}")
    [ "$count" -gt 0 ] && [ "$count" -le "$(sample "$writes")" ] || fail "$count samples in $family"
    [ "$(sample "${family}_bucket{le=\"+Inf\",device=\"user_0/disk\",class=\"write\"}")" = "$count" ] ||
        fail "the last bucket of $family is not the number of its samples"
done
[ "$(sample 'lunbox_worker_restarts_total{tenant="default"}')" = 0 ] || fail "restarts before any"
[ "$(sample 'lunbox_device_up{device="user_0/disk",tenant="default",subtype="file"}')" = 1 ] || fail "not up"

say "rates and single commands"
(
    trap - TERM
    while [ ! -e "$SCRATCH/enough" ]; do
        dd if=/dev/zero of="/dev/$DISK" bs=8k seek=128 count=8 oflag=direct || exit 1
        dd if="/dev/$DISK" of=/dev/null bs=4k skip=512 count=8 iflag=direct || exit 1
    done
) 2> "$SCRATCH/dd" &
load=$!
wait_for_io "$DISK"
says '"device":"user_0/disk","health":"serving","iops":[1-9].*"unanswered":\[\]' 20 lunbox top --once --interval 1 --json
says "^user_0/disk +serving +[1-9]" 20 lunbox top --once --interval 0.5
bounded 20 lunbox trace disk --count 4 > "$SCRATCH/trace" 2> "$SCRATCH/traced" || fail "lunbox trace: $(cat "$SCRATCH/traced")"
[ "$(wc -l < "$SCRATCH/trace")" = 4 ] || fail "not four commands: $(cat "$SCRATCH/trace")"
# Eight of each kind follow each other, at known places.
if grep -Ev 'WRITE\(1[06]\) +lba (20[4-9][0-9]|21[0-9][0-9]) blocks 16 +8 KiB .* GOOD$|READ\(1[06]\) +lba (409[0-9]|41[0-5][0-9]) blocks 8 +4 KiB .* GOOD$' "$SCRATCH/trace"; then
    fail "no such command was sent"
fi
cat "$SCRATCH/trace"
bounded 20 lunbox trace disk --count 40 --json > "$SCRATCH/trace" || fail "lunbox trace --json"
for name in READ WRITE; do
    grep -Eq "\"name\":\"$name\(1[06]\)\",\"lba\":[0-9]+,\"blocks\":(8|16)," "$SCRATCH/trace" || fail "no $name: $(cat "$SCRATCH/trace")"
done

say "a worker that does not answer, and one that was killed"
worker=$(workers)
kill -STOP "$worker"
within 10 "it is told that it does not answer" told 'lunbox_worker_unanswered{tenant="default"}' 1
kill -CONT "$worker"
[ "$(sample lunbox_devices)" = 0 ] || fail "its device is told of"
within 10 "it answers" told 'lunbox_worker_unanswered{tenant="default"}' 0
kill -KILL "$worker"
within 30 "the worker $worker is replaced" worker_is_other "$worker"
wait_for_io "$DISK"
# An answer is kept for a second, and may be older than all this.
within 10 "one restart is counted" told 'lunbox_worker_restarts_total{tenant="default"}' 1
within 10 "the device is up" told 'lunbox_device_up{device="user_0/disk",tenant="default",subtype="file"}' 1
: > "$SCRATCH/enough"
within 20 "dd ends" gone "$load"
wait "$load" || fail "dd failed: $(cat "$SCRATCH/dd")"

# doctor STATUS [ARGUMENT…]: lunbox doctor ends with it; what it said is in $SCRATCH/doctor.
doctor() {
    doctor_wanted=$1
    shift
    bounded 60 lunbox doctor "$@" > "$SCRATCH/doctor" 2>&1
    doctor_got=$?
    [ "$doctor_got" = "$doctor_wanted" ] || {
        cat "$SCRATCH/doctor"
        fail "lunbox doctor $* ended with $doctor_got instead of $doctor_wanted"
    }
}
# finds PATTERN: the only problem.
finds() {
    [ "$(grep -c '^problem' "$SCRATCH/doctor")" = 1 ] && grep -Eq "^problem +$1" "$SCRATCH/doctor" || {
        cat "$SCRATCH/doctor"
        fail "not the one problem $1"
    }
}

say "the doctor finds nothing that keeps it from working, and packs a report"
doctor 0 --bundle "$REPORT"
grep '^warning' "$SCRATCH/doctor"
grep -q '^0 problems' "$SCRATCH/doctor" || fail "no count of problems"
for check in configfs module fabric 'UIO nodes' lunboxd lock 'bus policy' bus tcmu.conf handlers log; do
    grep -Eq "^ok +$check  " "$SCRATCH/doctor" || fail "$check is not ok: $(cat "$SCRATCH/doctor")"
done
[ "$(stat -c %a "$REPORT")" = 600 ] || fail "$REPORT has mode $(stat -c %a "$REPORT")"
must 20 tar -tzf "$REPORT"
for part in findings.json versions.txt status.json workers.json devices.json statistics.json tcmu.conf target.txt tcmu-runner.log; do
    grep -qx "lunbox-report/$part" "$SCRATCH/must" || fail "no $part in $REPORT: $(cat "$SCRATCH/must")"
done
must 20 tar -xzOf "$REPORT" lunbox-report/target.txt
grep -q '^/core/user_0/disk/info: ' "$SCRATCH/must" || fail "the target configuration is not in $REPORT"
[ -z "$(find /tmp -maxdepth 1 -name 'lunbox-doctor-*')" ] || fail "the doctor left a directory behind"
sum=$(cksum "$REPORT")
doctor 1 --bundle "$REPORT"
grep -q 'name a file that does not exist' "$SCRATCH/doctor" || fail "not told why: $(cat "$SCRATCH/doctor")"
[ "$(cksum "$REPORT")" = "$sum" ] || fail "$REPORT was overwritten"

say "the bus without our policy, without a daemon"
mv "$POLICY" /tmp/
doctor 1
finds 'bus policy .*no file lets lunboxd have the name'
mv /tmp/tcmu-runner.conf "$POLICY"
pkill -KILL -x dbus-daemon
bus_is_down() { lunbox status | grep -Eq '^bus +down, '; }
within 10 "lunboxd notices that the bus has gone" bus_is_down
lunbox status | grep '^bus'
doctor 1
finds 'bus '
must 20 dd if="/dev/$DISK" of=/dev/null bs=64k count=4 iflag=direct

say "metrics switched off, and the daemon away"
echo 'log_level = 3' > "$CONF"
within 5 "metrics are not served any more" not exists "$METRICS"
no_kernel_errors
remove_cleanly disk 0
stop_lunboxd || fail "lunboxd ended with status $?"
doctor 1
grep -Eq '^problem +lunboxd .*does not answer' "$SCRATCH/doctor" || fail "the daemon is not missed: $(cat "$SCRATCH/doctor")"
say "done"
