#!/bin/sh
# A handler that misbehaves in every way it knows: its LUN keeps answering and its neighbour notices nothing.
# The triggers are reads of the LUN's last blocks; tests/guests/hostile and tests/guests/wasi have the tables. Every
# one has exactly one answer here: another one, a time-out or a failure of sg_raw itself fails the test.
# limit: 240
# machines: uml
. /host/tests/lib.sh
HANDLERS=/tmp/handlers
mkdir -p "$HANDLERS"
cp /host/handlers/*.wasm /host/handlers-test/*.wasm "$HANDLERS/"

start_lunboxd
mk_user neighbour file//tmp/neighbour.img $((64 * MIB))
map_loop neighbour 0
neighbour=$DISK
mk_user hostile hostile//tmp/hostile.img $((64 * MIB))
map_loop hostile 1
start_load "$neighbour" neighbour
load=$load_pid
worker=$(workers)

dd if=/dev/urandom of=/tmp/pattern bs=4096 count=16 2> /dev/null
must 20 dd if=/tmp/pattern of="/dev/$DISK" bs=4096 count=16 oflag=direct

# Not through the block layer: it would retry a BUSY for minutes.
read_block() { # LBA of 512 bytes, seconds
    cdb=$(printf '28 00 %02x %02x %02x %02x 00 00 08 00' \
        $(($1 >> 24 & 255)) $(($1 >> 16 & 255)) $(($1 >> 8 & 255)) $(($1 & 255)))
    # Split on purpose: one argument per byte.
    # shellcheck disable=SC2086
    sg_raw --timeout="$2" --request=4096 --outfile="$SCRATCH/block" "/dev/$SG" $cdb
}
reads_back() {
    read_block 8 3 > /dev/null 2>&1 || return 1
    dd if=/tmp/pattern bs=4096 skip=1 count=1 2> /dev/null | cmp -s - "$SCRATCH/block"
}

# answer STATUS: what the initiator got, by the exit status and the words of sg_raw. Without a SCSI status nothing was
# answered: 33 is sg_raw's own time-out, 124 that of timeout(1).
answer() {
    case $1:$(sed -n 's/^SCSI Status: *//p' "$SCRATCH/trigger") in
        0:Good*) echo good ;;
        # 99: none of the statuses that sg_raw has a number for.
        8:Busy* | 99:Busy*) echo busy ;;
        3:Check*)
            if grep -q 'Sense key: Hardware Error' "$SCRATCH/trigger" &&
                grep -q 'Internal target failure' "$SCRATCH/trigger"; then
                echo internal
            else
                echo "another sense"
            fi
            ;;
        *) echo none ;;
    esac
}

# provoke WHO TRIGGER SECONDS EXPECTED…: one of these is the answer, and the LUN answers again.
provoke() {
    who=$1 trigger=$2 limit=$3
    shift 3
    bounded 30 read_block $((64 * 2048 - trigger * 8)) "$limit" > "$SCRATCH/trigger" 2>&1
    status=$?
    got=$(answer "$status")
    case " $* " in
        *" $got "*) ;;
        *)
            cat "$SCRATCH/trigger"
            fail "$who, trigger $trigger: the answer is $got and not $*; sg_raw ended with status $status"
            ;;
    esac
    within 15 "$who LUN answers after trigger $trigger" reads_back
    daemon_alive
    load_ok neighbour
    say "$who, trigger $trigger: $got; served again"
}

for trigger in $(seq 1 16) 20 21; do
    case $trigger in
        # Operations that can not be: 4/44/00, and no fault of the instance.
        4 | 9 | 16) expected=internal ;;
        # Bad buffer calls that got their errors, reads that would misbehave only if cancelled, good manners.
        10 | 13 | 15 | 20 | 21) expected=good ;;
        # A log flood may use up the CPU budget here: in User-Mode Linux each line's clock reading is a system call.
        12) expected='good busy' ;;
        # A new instance is made: the initiator is to try again.
        *) expected=busy ;;
    esac
    # Split on purpose: one answer per word.
    # shellcheck disable=SC2086
    provoke hostile "$trigger" 3 $expected
done

say "the same with a handler that imports WASI: it sleeps, polls, floods, and asks for what it was not granted"
mk_user wasi wasi//tmp/wasi.img $((64 * MIB))
map_loop wasi 2
must 20 dd if=/tmp/pattern of="/dev/$DISK" bs=4096 count=16 oflag=direct
for trigger in $(seq 1 12) 16 20 22; do
    case $trigger in
        # What it asks for and does not get, and good manners.
        4 | 5 | 11 | 20 | 22) expected=good ;;
        # A flood of output may use up the CPU budget here, as the log flood above.
        6) expected='good busy' ;;
        *) expected=busy ;;
    esac
    # shellcheck disable=SC2086
    provoke wasi "$trigger" 8 $expected
done
[ "$(workers)" = "$worker" ] || fail "the worker $worker did not live through all of this: there is $(workers)"

wait_for_io "$neighbour"
stop_load neighbour "$load"
remove_cleanly wasi 2
remove_cleanly hostile 1
remove_cleanly neighbour 0
stop_lunboxd || fail "lunboxd ended with status $?"
say "done"
