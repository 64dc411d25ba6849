# Helpers of the guest tests; sourced, for any POSIX shell. Everything that can hang runs with a time limit: a
# configfs write without a daemon, or I/O on a dead LUN, is not interruptible, so `timeout` would hang with it.
# A failed check says what was expected, shows the ends of the daemon's and the kernel's log, and leaves with 1.
set -u

CONFIGFS=/sys/kernel/config/target
LOOPBACK=$CONFIGFS/loopback/naa.5001405f00000001/tpgt_1
NEXUS=naa.5001405f00000002
LOG=/tmp/lunboxd.log
HANDLERS=/host/handlers
LUNBOXD=/host/lunboxd
MIB=1048576
SCRATCH=/tmp/test-state
DAEMON=
mkdir -p "$SCRATCH"
: > "$LOG"

say() { echo "-- $*"; }

# The test's own output: a check may fail where output is redirected.
exec 3>&1

fail() {
    {
        echo "FAILED: $*"
        echo "--- end of lunboxd's log"
        tail -n 25 "$LOG"
        echo "--- end of the kernel's log"
        dmesg | tail -n 15
    } >&3
    # In a subshell, exit alone would not end the test.
    kill -TERM $$
    exit 1
}
trap 'exit 1' TERM

# Hundredths of a second since boot.
now() {
    read -r uptime _ < /proc/uptime
    echo "${uptime%.*}${uptime#*.}"
}

# within SECONDS WHAT COMMAND…: waits until COMMAND succeeds.
within() {
    within_limit=$1 within_what=$2
    shift 2
    within_end=$(($(now) + within_limit * 100))
    until "$@"; do
        [ "$(now)" -lt "$within_end" ] || fail "$within_what: not within $within_limit s"
        sleep 0.05
    done
}

not() { ! "$@"; }
# An ended child that nobody has waited for yet still takes signals: its state tells.
gone() {
    read -r gone_stat 2> /dev/null < "/proc/$1/stat" || return 0
    case ${gone_stat##*) } in Z*) return 0 ;; esac
    return 1
}
exists() { [ -e "$1" ]; }

# bounded SECONDS COMMAND…: runs COMMAND, returns its status, fails if it does not end in time.
bounded() {
    bounded_limit=$1
    shift
    "$@" &
    bounded_pid=$!
    within "$bounded_limit" "end of \`$*\`" gone "$bounded_pid"
    wait "$bounded_pid"
}

# must SECONDS COMMAND…: as bounded, and COMMAND has to succeed. Its output appears only if it does not.
must() {
    must_limit=$1
    shift
    bounded "$must_limit" "$@" > "$SCRATCH/must" 2>&1 || {
        must_status=$?
        cat "$SCRATCH/must"
        fail "\`$*\` ended with $must_status"
    }
}

put() { printf '%s' "$1" > "$2"; }

# --- the daemon

# start_lunboxd [ARGUMENT…]: sets DAEMON to its process id; returns when it is ready.
start_lunboxd() {
    log_before=$(wc -l < "$LOG")
    "$LUNBOXD" --handler-path "$HANDLERS" --cache-dir /tmp/lunbox-cache --log-level 3 "$@" >> "$LOG" 2>&1 &
    DAEMON=$!
    within 60 "lunboxd says that it is ready" daemon_is_ready
}
daemon_is_ready() {
    ! gone "$DAEMON" || fail "lunboxd ended while starting"
    tail -n "+$((log_before + 1))" "$LOG" | grep -qw ready
}
daemon_alive() { ! gone "$DAEMON" || fail "lunboxd is gone"; }

kill_lunboxd() {
    kill -KILL "$DAEMON"
    wait "$DAEMON" 2> /dev/null
}

stop_lunboxd() {
    kill -TERM "$DAEMON"
    within 20 "lunboxd ends after SIGTERM" gone "$DAEMON"
    wait "$DAEMON"
}

# workers: process ids of the workers, one in a line.
workers() { pgrep -f '[w]orker --tenant'; }
# worker_is_other PID: there is one worker, and it is not PID.
worker_is_other() {
    other_worker=$(workers) && [ "$(echo "$other_worker" | wc -l)" = 1 ] && [ "$other_worker" != "$1" ]
}

# log_mark marks a place in the daemon's log, log_says PATTERN tells whether it matches a line after that place.
log_mark() { log_marked=$(wc -l < "$LOG"); }
log_says() { tail -n "+$((log_marked + 1))" "$LOG" | grep -Eqi -- "$1"; }

# --- backstores and LUNs

# try_user NAME CFGSTRING SIZE [CONTROL…]: makes and enables a backstore; returns the status of enabling it.
try_user() {
    user=$CONFIGFS/core/user_0/$1
    mkdir -p "$user" || fail "mkdir $user"
    put "dev_config=$2" "$user/control" || fail "control refuses dev_config=$2"
    put "dev_size=$3" "$user/control" || fail "control refuses dev_size=$3"
    user_name=$1
    shift 3
    for control in "$@"; do
        put "$control" "$user/control" || fail "control refuses $control"
    done
    bounded 20 put 1 "$user/enable" 2> /dev/null
}

# mk_user NAME CFGSTRING SIZE [CONTROL…]: as try_user, must succeed; gives it a serial number.
mk_user() {
    try_user "$@" || fail "enabling $1 ($2)"
    [ "$(cat "$user/enable")" = 1 ] || fail "$1 is not enabled after a successful write"
    put "${user_name}-0001" "$user/wwn/vpd_unit_serial" || fail "serial number of $1"
}

rm_user() { must 20 rmdir "$CONFIGFS/core/user_0/$1"; }

# uio_of NAME: prints the UIO device of a backstore, if there is one.
uio_of() {
    for uio in /sys/class/uio/uio*; do
        [ -e "$uio/name" ] || continue
        case $(cat "$uio/name") in
            "tcm-user/0/$1/"*) echo "${uio##*/}" ;;
        esac
    done
}
has_no_uio() { [ -z "$(uio_of "$1")" ]; }

# map_loop NAME LUN: shows a backstore to this kernel as a disk; sets DISK (sdX) and SG (sgN).
map_loop() {
    [ -d "$LOOPBACK" ] || {
        mkdir -p "$LOOPBACK" || fail "mkdir $LOOPBACK"
        put "$NEXUS" "$LOOPBACK/nexus" || fail "loopback nexus"
    }
    mkdir "$LOOPBACK/lun/lun_$2" || fail "mkdir lun_$2"
    bounded 20 ln -s "$CONFIGFS/core/user_0/$1" "$LOOPBACK/lun/lun_$2/$1" || fail "mapping $1 to LUN $2"
    DISK='' SG=''
    within 30 "a disk for $1" disk_of_lun "$2"
}
disk_of_lun() {
    for scsi in /sys/class/scsi_device/*:0:1:"$1"/device; do
        [ -d "$scsi/block" ] || continue
        [ -d "$scsi/scsi_generic" ] || continue
        DISK=$(ls "$scsi/block")
        SG=$(ls "$scsi/scsi_generic")
    done
    [ -n "$DISK" ] && [ -b "/dev/$DISK" ] && [ -c "/dev/$SG" ] && [ "$(cat "/sys/block/$DISK/size")" != 0 ]
}

# attentions_taken SG: fetches the unit attentions that are waiting, which configuring a LUN leaves behind; what comes
# next is an answer to its own command.
attentions_taken() { within 10 "$1 without a unit attention" sg_turs "/dev/$1" > "$SCRATCH/attentions" 2>&1; }

unmap_loop() {
    must 20 rm "$LOOPBACK/lun/lun_$2/$1"
    must 20 rmdir "$LOOPBACK/lun/lun_$2"
}

# remove_cleanly NAME LUN: unmaps and deletes; nothing of it may stay behind.
remove_cleanly() {
    unmap_loop "$1" "$2"
    rm_user "$1"
    within 10 "the UIO device of $1 goes away" has_no_uio "$1"
    daemon_alive
}

# --- load

# start_load DISK NAME: writes and verifies in rounds until stop_load; what one round wrote is checked in the same one.
start_load() {
    load_dir=$SCRATCH/load-$2
    rm -rf "$load_dir"
    mkdir -p "$load_dir"
    (
        trap - TERM
        while [ ! -e "$load_dir/stop" ]; do
            fio --name="$2" --filename="/dev/$1" --direct=1 --ioengine=libaio --rw=randwrite --iodepth=16 \
                --bsrange=512-64k --blockalign=512 --size=24M --randrepeat=0 \
                --verify=crc32c --do_verify=1 --verify_fatal=1 > "$load_dir/out" 2>&1 || {
                echo "$?" > "$load_dir/failed"
                exit 1
            }
            echo round >> "$load_dir/rounds"
        done
    ) &
    load_pid=$!
    wait_for_io "$1"
}

# start_file_load FILE DISK NAME: the same on a file that exists, in a file system on DISK.
start_file_load() {
    load_dir=$SCRATCH/load-$3
    rm -rf "$load_dir"
    mkdir -p "$load_dir"
    (
        trap - TERM
        while [ ! -e "$load_dir/stop" ]; do
            fio --name="$3" --filename="$1" --direct=1 --ioengine=libaio --rw=randwrite --iodepth=16 \
                --bsrange=4k-64k --blockalign=4k --size=24M --randrepeat=0 --fsync=64 \
                --verify=crc32c --do_verify=1 --verify_fatal=1 > "$load_dir/out" 2>&1 || {
                echo "$?" > "$load_dir/failed"
                exit 1
            }
            echo round >> "$load_dir/rounds"
        done
    ) &
    load_pid=$!
    wait_for_io "$2"
}

# load_ok NAME: no round has failed so far.
load_ok() {
    [ ! -e "$SCRATCH/load-$1/failed" ] || {
        cat "$SCRATCH/load-$1/out"
        fail "fio $1 found an error"
    }
}

# stop_load NAME PID: lets the current round end; it and all before it must have been free of errors.
stop_load() {
    : > "$SCRATCH/load-$1/stop"
    within 120 "fio $1 ends its round" gone "$2"
    wait "$2"
    load_ok "$1"
    [ -s "$SCRATCH/load-$1/rounds" ] || fail "fio $1 did not end a single round"
    say "fio $1: $(wc -l < "$SCRATCH/load-$1/rounds") rounds verified"
}

# Reads and writes that a disk has completed.
completed() { awk '{ print $1 + $5 }' "/sys/block/$1/stat"; }
completed_more_than() { [ "$(completed "$1")" -gt "$2" ]; }

# wait_for_io DISK: fio takes seconds to start on a slow machine; returns when I/O flows.
wait_for_io() { within 60 "I/O on $1" completed_more_than "$1" "$(($(completed "$1") + 100))"; }

# --- checks

no_kernel_errors() {
    if dmesg | grep -E 'I/O error|Medium Error|offline|[Aa]bort|ABORT|blocked for more|BUG:|Oops:|Call Trace:' > "$SCRATCH/errors"; then
        cat "$SCRATCH/errors"
        fail "the kernel reported errors"
    fi
}

# says PATTERN SECONDS COMMAND…: COMMAND succeeds and a line of its output matches.
says() {
    pattern=$1 says_limit=$2
    shift 2
    bounded "$says_limit" "$@" > "$SCRATCH/says" 2>&1 || {
        cat "$SCRATCH/says"
        fail "\`$*\` failed"
    }
    grep -Eq -- "$pattern" "$SCRATCH/says" || {
        cat "$SCRATCH/says"
        fail "\`$*\` does not say $pattern"
    }
}
