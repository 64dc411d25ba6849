# The processes of our daemon in the guest benchmark: what memory they take, how soon a killed worker is replaced.
# Sourced after lib.sh and bench-luns.sh.

# figure FILE KEY: a figure in KiB of a file of /proc; 0 where the kernel does not have it.
figure() { sed -n "s/^$2:[^0-9]*\([0-9]*\) kB$/\1/p" "$1" 2> /dev/null | grep . || echo 0; }

# memory_of SIDE PROCESS DEVICES PID: prints a result.
memory_of() {
    printf '{"kind":"memory","side":"%s","process":"%s","devices":%s,"rss_kib":%s,"pss_kib":%s}\n' "$1" "$2" "$3" \
        "$(figure "/proc/$4/status" VmRSS)" "$(figure "/proc/$4/smaps_rollup" Pss)"
}

memory_devices() { # SIDE SUBTYPE FIRST LAST
    for number in $(seq "$3" "$4"); do
        mk_user "memory-$number" "$2//tmp/memory-$number.img" "$MIB"
    done
    case $1 in
        lunbox)
            memory_of lunbox supervisor "$4" "$DAEMON"
            memory_of lunbox worker "$4" "$(workers)"
            ;;
        single) memory_of single daemon "$4" "$SINGLE" ;;
    esac
}

# measure_memory: with 1 and with 16 devices that nobody uses.
measure_memory() {
    start_lunboxd
    memory_devices lunbox file 1 1
    memory_devices lunbox file 2 16
    for number in $(seq 16); do rm_user "memory-$number"; done
    stop_lunboxd || fail "lunboxd ended with status $?"
    start_single
    memory_devices single raw 1 1
    memory_devices single raw 2 16
    for number in $(seq 16); do rm_user "memory-$number"; done
    kill -TERM "$SINGLE"
    within 20 "lunboxd --single-process ends after SIGTERM" gone "$SINGLE"
    wait "$SINGLE" || fail "lunboxd --single-process ended with status $?"
    rm -f /tmp/memory-*.img
}

one_worker() { [ "$(workers | wc -l)" = 1 ]; }

# measure_restarts STORE: kills the worker again and again. A supervisor makes growing pauses if that happens often, so
# each time it is a new one, which has seen no death yet.
measure_restarts() {
    read -r disk _ < "$SCRATCH/lun-lunbox-$1"
    times=
    for restart in $(seq "$restarts"); do
        [ "$restart" = 1 ] || {
            kill_lunboxd
            start_lunboxd
        }
        within 20 "one worker" one_worker
        bounded 60 python3 /host/tests/bench-restart.py "/dev/$disk" "$(workers)" > "$SCRATCH/restart" 2>&1 || {
            cat "$SCRATCH/restart"
            fail "restart $restart"
        }
        times="$times,$(cat "$SCRATCH/restart")"
    done
    echo "{\"kind\":\"restart\",\"milliseconds\":[${times#,}]}"
}
