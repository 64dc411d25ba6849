#!/bin/sh
# fio runs this before and after each job: counters.sh before|after FILE ROUND JOB DISK-SIDE-PID UIO
# The counters are [machine's busy ticks, daemon's ticks, its read calls, its write calls, the kernel's UIO events].
# The daemon's ticks are those of all its threads, ended ones and the kernel's io_uring workers included; the kernel
# scales them to the exact run time. A pid of 0 is a LUN that the kernel serves by itself.
when=$1 file=$2 round=$3 job=$4 pid=$5 uio=$6

read -r _ user nice system _ _ irq softirq _ < /proc/stat
machine=$((user + nice + system + irq + softirq))
if [ "$pid" = 0 ]; then
    counters="[$machine,0,0,0,0]"
else
    read -r stat < "/proc/$pid/stat"
    read -r events < "/sys/class/uio/$uio/event"
    while read -r key value; do
        case $key in
            syscr:) reads=$value ;;
            syscw:) writes=$value ;;
        esac
    done < "/proc/$pid/io"
    # The fields after the program's name: utime and stime, 14 and 15 in proc(5), are 12 and 13 here.
    # shellcheck disable=SC2086
    set -- ${stat##*) }
    shift 11
    counters="[$machine,$(($1 + $2)),$reads,$writes,$events]"
fi

if [ "$when" = before ]; then
    echo "$counters" > "$file"
else
    read -r before < "$file"
    # Descriptor 3 is the benchmark's output (lib.sh); fio sends the standard output of this elsewhere.
    echo "{\"kind\":\"counters\",\"round\":$round,\"job\":\"$job\",\"before\":$before,\"after\":$counters}" >&3
fi
