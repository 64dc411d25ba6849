# System calls of the guest benchmark; sourced after lib.sh and the functions lun and split of bench.sh. Never in a
# measured round. Where the kernel can count for itself (tracefs: not in User-Mode Linux), at next to no cost, it does;
# else strace counts, which slows the daemon so that more I/Os share a call.

TRACING=/sys/kernel/tracing
how=strace

# prepare_tracing: sets how.
prepare_tracing() {
    [ -d "$TRACING" ] || return 0
    mount -t tracefs tracefs "$TRACING" || return 0
    [ -e "$TRACING/kprobe_events" ] || return 0
    # The kernel's side of a write to the UIO device.
    put 'p:lunbox_doorbell tcmu_irqcontrol' "$TRACING/kprobe_events" || return 0
    calls=$TRACING/events/raw_syscalls/sys_enter/trigger
    bells=$TRACING/events/kprobes/lunbox_doorbell/trigger
    how=tracefs
}

attached() {
    for attached_pid in "$@"; do
        ! grep -qs "^TracerPid:	0$" "/proc/$attached_pid/task/"*/status || return 1
    done
}

# start_count: counts the calls of all threads of the processes $pids from now on.
start_count() {
    if [ "$how" = tracefs ]; then
        put 'hist:keys=common_pid,id.syscall:size=8192' "$calls" || fail "no histogram of system calls"
        put 'hist:keys=common_pid' "$bells" || fail "no histogram of doorbells"
    else
        strace -f -ttt -y -o "$SCRATCH/strace" -p "$pids" 2> "$SCRATCH/strace.err" &
        tracer=$!
        # shellcheck disable=SC2046 # a number for each process
        within 20 "strace on $pids" attached $(echo "$pids" | tr , ' ')
    fi
    count_start=$(now)
}

# stop_count MODE HEAD: prints what was counted, as one line of JSON that starts with HEAD.
stop_count() {
    head="\"how\":\"$how\",\"hundredths\":$(($(now) - count_start)),$2"
    if [ "$how" = tracefs ]; then
        for traced_pid in $(echo "$pids" | tr , ' '); do ls "/proc/$traced_pid/task"; done > "$SCRATCH/threads"
        cat "${calls%trigger}hist" > "$SCRATCH/calls"
        cat "${bells%trigger}hist" > "$SCRATCH/bells"
        put '!hist:keys=common_pid,id.syscall:size=8192' "$calls"
        put '!hist:keys=common_pid' "$bells"
        awk -v head="$head" -f /host/tests/bench-hist.awk "$SCRATCH/threads" "$SCRATCH/bells" "$SCRATCH/calls"
    else
        kill -INT "$tracer"
        within 20 "end of strace" gone "$tracer"
        wait "$tracer"
        awk -v mode="$1" -v uio="</dev/$uio>" -v head="$head" -f /host/tests/bench-strace.awk "$SCRATCH/strace"
    fi
}

# count_idle SIDE STORE: what the daemon calls without any I/O.
count_idle() {
    lun "$1" "$2"
    start_count
    # The time that is looked at: nothing is waited for.
    sleep 2
    stop_count idle "\"kind\":\"idle\",\"side\":\"$1\""
}

# count_calls SIDE: the system calls of the case that was split: under strace of a number of I/Os, else of a second.
count_calls() {
    lun "$1" "$store"
    amount=--number_ios=$traced
    [ "$how" = strace ] || amount='--time_based --runtime=1'
    start_count
    ios_before=$(completed "$disk")
    # shellcheck disable=SC2086 # amount may be two words
    must 120 fio --name=trace --filename="/dev/$disk" --rw="$rw" --bs="$block" --iodepth="$depth" --direct=1 \
        --ioengine=libaio --randrepeat=0 --norandommap $amount --eta=never --output=/dev/null
    ios=$(($(completed "$disk") - ios_before))
    stop_count window "\"kind\":\"trace\",\"job\":\"$store:$rw:$block:$depth:$1\",\"ios\":$ios"
}
