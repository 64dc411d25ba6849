#!/bin/sh
# The guest's side of `cargo xtask bench --guest`: our daemon with its workers, our daemon in one process, Debian's
# tcmu-runner and the kernel's own fileio serve equal LUNs to the same kernel, and take turns. Lines that start with {
# are results; the rest is for people.
. /host/tests/lib.sh
. /host/tests/bench-luns.sh
. /host/tests/bench-trace.sh
. /host/tests/bench-processes.sh

# What the host asks for. A case is STORE:READWRITE:BLOCK:DEPTH:FLAGS; with c among the flags our second LUN takes
# part, with s the daemon in one process, with t the system calls are traced as well.
rounds=${LUNBOX_BENCH_ROUNDS:?}
millis=${LUNBOX_BENCH_MILLIS:?}
cases=${LUNBOX_BENCH_CASES:?}
traced=${LUNBOX_BENCH_TRACED:?}
restarts=${LUNBOX_BENCH_RESTARTS:?}

# lun SIDE STORE: sets disk, uio and pids of a LUN.
lun() {
    read -r disk uio < "$SCRATCH/lun-$1-$2"
    processes "$1"
}

# split CASE: sets store rw block depth flags.
split() {
    IFS=: read -r store rw block depth flags <<- END
		$1
	END
}

# --- the measured rounds

global() {
    echo "[global]"
    # Latency from submission on: tcmu-runner is at work before the submission returns.
    printf '%s\n' direct=1 ioengine=libaio randrepeat=0 norandommap time_based "runtime=${1}ms" \
        clat_percentiles=0 lat_percentiles=1
}

# job NAME RW BLOCK DEPTH: a job on $disk that starts when the one before has ended.
job() { printf '%s\n' "[$1]" stonewall "filename=/dev/$disk" "rw=$2" "bs=$3" "iodepth=$4"; }

# round_jobs ROUND: prints fio's job file. Who goes first changes from case to case and from round to round.
round_jobs() {
    turn=$1
    global "$millis"
    for case in $cases; do
        split "$case"
        control='' single=''
        case $flags in *c*) control=control ;; esac
        case $flags in *s*) single=single ;; esac
        case $((turn % 4)) in
            0) order="lunbox $single runner $control fileio" ;;
            1) order="runner fileio $control $single lunbox" ;;
            2) order="fileio $control lunbox $single runner" ;;
            3) order="$single lunbox $control runner fileio" ;;
        esac
        turn=$((turn + 1))
        for side in $order; do
            lun "$side" "$store"
            name=$store:$rw:$block:$depth:$side
            job "$name" "$rw" "$block" "$depth"
            for when in before after; do
                case $when in before) hook=exec_prerun ;; after) hook=exec_postrun ;; esac
                echo "$hook=sh $SCRATCH/counters.sh $when $SCRATCH/counters $1 $name $pids ${uio:--}"
            done
        done
    done
}

# run_jobs: what is in $SCRATCH/jobs.fio; the result goes to $SCRATCH/fio.json.
run_jobs() {
    run_limit=$(($(grep -c '^filename' "$SCRATCH/jobs.fio") * (millis / 1000 + 8)))
    must "$run_limit" fio --eta=never --output-format=json --output="$SCRATCH/fio.json" "$SCRATCH/jobs.fio"
}

warm_up() {
    global 300 > "$SCRATCH/jobs.fio"
    for store in $stores; do
        for side in lunbox control single runner fileio; do
            lun "$side" "$store"
            job "$store:$side" randrw 4k 32 >> "$SCRATCH/jobs.fio"
        done
    done
    run_jobs
}

measure() {
    round=1
    while [ "$round" -le "$rounds" ]; do
        say "round $round of $rounds"
        round_jobs "$round" > "$SCRATCH/jobs.fio"
        run_jobs
        printf '{"kind":"fio","round":%s,"report":%s}\n' "$round" "$(tr -d ' \n' < "$SCRATCH/fio.json")"
        round=$((round + 1))
    done
}

# --- the run

say "$(uname -sr), $(nproc) processor(s): memory of idle daemons"
cp /host/tests/bench-counters.sh "$SCRATCH/counters.sh"
cd "$SCRATCH" || fail "cd $SCRATCH"
stores=$(for case in $cases; do echo "${case%%:*}"; done | sort -u)
printf '{"kind":"machine","kernel":"%s","processors":%s,"ticks_per_second":%s,"lun_mib":%s,"runner":"%s","fio":"%s"}\n' \
    "$(uname -sr)" "$(nproc)" "$(getconf CLK_TCK)" "$LUN_MIB" "$(runner_version)" "$(fio --version)"
measure_memory
say "filling LUNs and starting the daemons"
make_luns "$stores"
warm_up
measure

prepare_tracing
say "system calls, counted by $how"
for side in lunbox runner; do
    for store in $stores; do
        count_idle "$side" "$store"
        break
    done
    for case in $cases; do
        split "$case"
        case $flags in *t*) count_calls "$side" ;; esac
    done
done

say "a worker is killed $restarts times"
measure_restarts "${stores%%[!a-z0-9]*}"

daemon_alive
! gone "$RUNNER" || fail "tcmu-runner is gone"
! gone "$SINGLE" || fail "lunboxd --single-process is gone"
no_kernel_errors
