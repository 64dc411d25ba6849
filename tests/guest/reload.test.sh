#!/bin/sh
# tcmu.conf changed while the daemon runs: in place, by rename, broken, gone and back. The log file: its lines, its
# rotation by logrotate with the file that is installed, and names that look like log lines.
# limit: 150
# machines: uml
. /host/tests/lib.sh
CONF=/etc/tcmu/tcmu.conf
FILE=/var/log/tcmu-runner.log

mkdir -p /etc/tcmu
cp /host/install/tcmu.conf "$CONF"
rm -f "$FILE"
# The level of tests comes from the command line; the file wins over it.
start_lunboxd
mk_user disk file//tmp/disk.img $((16 * MIB))

# The log's lines: from the mark on.
mark() { marked=$(wc -l < "$FILE"); }
new_lines() { tail -n "+$((marked + 1))" "$FILE"; }
logged() { new_lines | grep -Eq -- "$1"; }

say "the file and its lines"
[ "$(stat -c %a "$FILE")" = 600 ] || fail "$FILE has mode $(stat -c %a "$FILE")"
grep -q '\[CRIT\].*Starting\.\.\.' "$FILE" || fail "no line Starting..."
line='^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3} [0-9]+(:[^ ]+)? \[(CRIT|ERROR|WARN|INFO|DEBUG|DEBUG_SCSI_CMD)\] [A-Za-z0-9_]+:[0-9]+: |^[0-9-]{10} [0-9:.]{12} [0-9]+(:[^ ]+)? \[(CRIT|ERROR|WARN|INFO|DEBUG|DEBUG_SCSI_CMD)\] [A-Za-z0-9_]+:[0-9]+ [^ ]+/[^ ]+: '
well_formed() {
    if grep -Ev -- "$line" "$FILE" > "$SCRATCH/odd"; then
        head -n 5 "$SCRATCH/odd"
        fail "$(wc -l < "$SCRATCH/odd") lines of $FILE are not log lines"
    fi
}
well_formed

say "edited in place"
mark
echo 'log_level = 4' >> "$CONF"
within 5 "the level is 4" logged 'log level now is'
mark
mk_user other file//tmp/other.img "$MIB"
rm_user other
within 5 "details are logged" logged '\[DEBUG\]'

say "another file moved over it"
mark
echo 'log_level = 2' > "$CONF.new"
mv "$CONF.new" "$CONF"
within 5 "the level is 2" logged 'log level now is'
mark
mk_user other file//tmp/other.img "$MIB"
rm_user other
! logged '\[(INFO|DEBUG)\]' || fail "more than warnings at level 2: $(new_lines)"

say "broken: each bad line is named, the others hold"
mark
printf '= 5\n\001\002 = x\n***\nlog_level = 3\nno_such_key = 1\nlog_dir = 5\377\n' > "$CONF.new"
mv "$CONF.new" "$CONF"
within 5 "the level is 3" logged 'log level now is'
for number in 1 2 3 5; do
    within 5 "line $number is named" logged "\[WARN\].*(line $number\b|tcmu.conf:$number)"
done
daemon_alive

say "a megabyte of noise"
mark
# The first line is good, and so it holds.
{
    echo 'log_level = 4'
    head -c 1000000 /dev/urandom
} > "$CONF.new"
mv "$CONF.new" "$CONF"
within 20 "the level is 4" logged 'log level now is'
daemon_alive

say "gone, and back"
mark
rm "$CONF"
within 5 "the level is the command line's" logged 'log level now is'
mark
echo 'log_level = 4' > "$CONF"
within 5 "the level is 4" logged 'log level now is'
# Emptied and then written, as editors do: no moment at the default.
mark
: > "$CONF"
echo 'log_level = 5' >> "$CONF"
within 5 "the level is 5" logged 'log level now is'
[ "$(new_lines | grep -c 'log level now is')" = 1 ] || fail "an emptied file was read: $(new_lines)"

say "another folder"
printf 'log_level = 3\nlog_dir = "/tmp/logs/deep"\n' > "$CONF"
within 5 "the log file in the new folder" [ -s /tmp/logs/deep/tcmu-runner.log ]
mark
printf 'log_level = 3\n' > "$CONF"
within 5 "back in the old one" logged .

say "rotated, while line after line is logged: none is lost"
cp /host/install/logrotate.conf /etc/logrotate.d/tcmu-runner
chmod 644 /etc/logrotate.d/tcmu-runner
worker=$(workers)
holds() { find "/proc/$1/fd" -lname "$2" 2> /dev/null | grep -q .; }
holds "$worker" "$FILE" || fail "the worker does not hold the log file"
# Each refusal is a line with its number.
echo 0 > "$SCRATCH/refused"
(
    trap - TERM
    number=0
    while [ ! -e "$SCRATCH/enough" ]; do
        number=$((number + 1))
        user=$CONFIGFS/core/user_0/n$number
        mkdir "$user" || exit 1
        put "dev_config=file//no/such/folder/n$number.img" "$user/control"
        put "dev_size=$MIB" "$user/control"
        if put 1 "$user/enable" 2> /dev/null; then exit 1; fi
        rmdir "$user" || exit 1
        echo "$number" > "$SCRATCH/refused"
    done
) &
writer=$!
refused_more_than() { refused=$(cat "$SCRATCH/refused") && [ "${refused:-0}" -gt "$1" ]; }
within 10 "some refusals" refused_more_than 20
must 20 logrotate -f /etc/logrotate.d/tcmu-runner
refused_more_than 0
within 10 "refusals after the rotation" refused_more_than "$((refused + 20))"
: > "$SCRATCH/enough"
within 20 "the last refusal" gone "$writer"
wait "$writer" || fail "a device was accepted, or not removed"
refused=$(cat "$SCRATCH/refused")
within 5 "the last refusal is logged" grep -q "no/such/folder/n$refused\.img" "$FILE"
numbers() { grep -o 'no/such/folder/n[0-9]*\.img' | sort -u; }
gzip -dc "$FILE.1.gz" | numbers > "$SCRATCH/numbers.old"
numbers < "$FILE" > "$SCRATCH/numbers.new"
[ -s "$SCRATCH/numbers.old" ] || fail "no refusal was logged before the rotation"
found=$(sort -u "$SCRATCH/numbers.old" "$SCRATCH/numbers.new" | wc -l)
[ "$found" = "$refused" ] || fail "$refused refusals, and $found of them in the two files"
exists "$FILE.1.gz" || exists "$FILE.1" || fail "nothing was rotated: $(ls /var/log)"
for process in "$DAEMON" "$worker"; do
    within 10 "process $process has let go of the old file" not holds "$process" "$FILE.1*"
    within 10 "process $process holds the new file" holds "$process" "$FILE"
done
mark
mk_user other file//tmp/other.img "$MIB"
rm_user other
within 5 "lines come to the new file" logged '\[INFO\] [a-z_]+:[0-9]+ file/other: '
well_formed

say "names that look like log lines"
stamp='2026-01-01 00:00:00.000 1 [CRIT] main:1'
for name in "$stamp: forged" "x
$stamp: forged" "a: b [ERROR]"; do
    mkdir "$CONFIGFS/core/user_0/$name" || fail "mkdir $name"
    put 'dev_config=file//no/such/folder/x.img' "$CONFIGFS/core/user_0/$name/control"
    put "dev_size=$MIB" "$CONFIGFS/core/user_0/$name/control"
    if bounded 20 put 1 "$CONFIGFS/core/user_0/$name/enable" 2> /dev/null; then fail "it was accepted"; fi
    must 20 rmdir "$CONFIGFS/core/user_0/$name"
done
within 5 "the refusals are logged" logged '\[ERROR\].*no/such/folder'
well_formed
if grep -q "^$stamp" "$FILE"; then fail "a name forged a line of the log"; fi

rm_user disk
no_kernel_errors
stop_lunboxd || fail "lunboxd ended with status $?"
grep -q '\[CRIT\].*Exiting\.\.\.' "$FILE" || fail "no line Exiting..."
say "done"
