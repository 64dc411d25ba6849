#!/bin/sh
# fio runs this before and after each job: counters.sh before|after FILE ROUND JOB DISK-SIDE-PIDS UIO
# The counters are [machine's busy ticks, daemon's ticks, its read calls, its write calls, the kernel's UIO events].
# The daemon's ticks are those of all its processes (PID,PID…) and all their threads, ended ones and the kernel's
# io_uring workers included; the kernel scales them to the exact run time. A pid of 0 is a LUN that the kernel serves by
# itself.
when=$1 file=$2 round=$3 job=$4 pids=$5 uio=$6

read -r _ user nice system _ _ irq softirq _ < /proc/stat
machine=$((user + nice + system + irq + softirq))
ticks=0 reads=0 writes=0 events=0
if [ "$pids" != 0 ]; then
    read -r events < "/sys/class/uio/$uio/event"
    IFS=,
    for pid in $pids; do
        unset IFS
        read -r stat < "/proc/$pid/stat"
        while read -r key value; do
            case $key in
                syscr:) reads=$((reads + value)) ;;
                syscw:) writes=$((writes + value)) ;;
            esac
        done < "/proc/$pid/io"
        # The fields after the program's name: utime and stime, 14 and 15 in proc(5), are 12 and 13 here.
        # shellcheck disable=SC2086
        set -- ${stat##*) }
        shift 11
        ticks=$((ticks + $1 + $2))
    done
fi
counters="[$machine,$ticks,$reads,$writes,$events]"

if [ "$when" = before ]; then
    echo "$counters" > "$file"
else
    read -r before < "$file"
    # Descriptor 3 is the benchmark's output (lib.sh); fio sends the standard output of this elsewhere.
    echo "{\"kind\":\"counters\",\"round\":$round,\"job\":\"$job\",\"before\":$before,\"after\":$counters}" >&3
fi
