#!/bin/sh
# The crash matrix under verified load: a worker dies of any signal, the supervisor is killed, both are. Initiators
# wait and notice nothing else. LUNBOX_ROUNDS and LUNBOX_ROWS choose how often and what.
# limit: 500
# machines: uml
. /host/tests/lib.sh
rounds=${LUNBOX_ROUNDS:-20}
rows=${LUNBOX_ROWS:-worker supervisor both}

start_lunboxd
mk_user disk file//tmp/disk.img $((64 * MIB))
map_loop disk 0
# A second device in the same worker: it must come back, too.
mk_user idle file//tmp/idle.img $((16 * MIB))
map_loop idle 1
idle=$DISK
disk_of_lun 0
start_load "$DISK" verify
load=$load_pid
must 20 dd if=/dev/urandom of=/tmp/pattern bs=64k count=4
must 20 dd if=/tmp/pattern of="/dev/$idle" bs=64k oflag=direct

# recovered BEFORE: one more command than BEFORE was completed, and the other device reads what was written.
recovers() {
    within 60 "I/O on $DISK after $1" completed_more_than "$DISK" "$(($2 + 1))"
    took=$((($(now) - began) * 10))
    load_ok verify
    must 60 dd if="/dev/$idle" of=/tmp/read-back bs=64k count=4 iflag=direct
    cmp -s /tmp/pattern /tmp/read-back || fail "the idle device has lost its data"
    say "$row round $round of $rounds: recovered in $took ms ($1)"
}

# What is in flight at this moment when somebody is killed is up to chance: a different moment in each round.
signal_of() {
    case $(($1 % 5)) in
        1) echo KILL ;;
        2) echo SEGV ;;
        3) echo ABRT ;;
        4) echo BUS ;;
        0) echo ILL ;;
    esac
}

worker_row() {
    worker=$(workers)
    signal=$(signal_of "$round")
    before=$(completed "$DISK") began=$(now)
    # wasmtime's handler takes a signal that nobody's instruction has caused for a fault that will come again, and puts
    # the default action back: the second one ends the process, as a real fault does at once.
    until gone "$worker"; do kill "-$signal" "$worker" 2> /dev/null; done
    within 60 "the worker $worker is replaced" worker_is_other "$worker"
    recovers "worker $worker got SIG$signal" "$before"
}

supervisor_row() {
    worker=$(workers)
    kill_lunboxd
    before=$(completed "$DISK") began=$(now)
    # Nobody supervises, and I/O goes on.
    within 20 "I/O without a supervisor" completed_more_than "$DISK" "$((before + 20))"
    waiting=
    if [ $((round % 5)) = 1 ]; then
        # Somebody who enables a device meanwhile waits, and is answered by the successor.
        mkdir -p "$CONFIGFS/core/user_0/waiting"
        put dev_config=file//tmp/waiting.img "$CONFIGFS/core/user_0/waiting/control"
        put dev_size=$((16 * MIB)) "$CONFIGFS/core/user_0/waiting/control"
        put 1 "$CONFIGFS/core/user_0/waiting/enable" &
        waiting=$!
    fi
    before=$(completed "$DISK") began=$(now)
    start_lunboxd
    [ "$(workers)" = "$worker" ] || fail "worker $worker was not adopted: there is $(workers)"
    recovers "the successor adopted worker $worker" "$before"
    [ -z "$waiting" ] || {
        within 20 "enable is answered" gone "$waiting"
        wait "$waiting" || fail "enable failed with $?"
        rm_user waiting
    }
}

both_row() {
    worker=$(workers)
    before=$(completed "$DISK") began=$(now)
    if [ $((round % 2)) = 1 ]; then kill -KILL "$DAEMON" "$worker"; else kill -KILL "$worker" "$DAEMON"; fi
    wait "$DAEMON" 2> /dev/null
    start_lunboxd
    recovers "both were killed" "$before"
}

# Row after row in each round: a worker that dies again and again under one supervisor is given pauses.
for round in $(seq "$rounds"); do
    for row in $rows; do
        wait_for_io "$DISK"
        case $row in
            worker) worker_row ;;
            supervisor) supervisor_row ;;
            both) both_row ;;
            *) fail "no row $row; there are worker, supervisor and both" ;;
        esac
    done
done

stop_load verify "$load"
no_kernel_errors
remove_cleanly idle 1
remove_cleanly disk 0
stop_lunboxd || fail "lunboxd ended with status $?"
[ -z "$(workers)" ] || fail "workers are left: $(workers)"
say "done"
