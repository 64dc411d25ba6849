# Many writers of configfs at once; sourced after lib.sh.

# A process of User-Mode Linux has 512 GiB of addresses, and a sandbox reserves 4 of them: a hundred devices fill it, so
# these have four tenants, each with a worker.
tenants_policy() {
    echo "version = 1"
    for tenant in 0 1 2 3; do
        printf '[[tenant]]\nname = "t%s"\nmatch = [{ device = "t%s-*" }]\n' "$tenant" "$tenant"
    done
}
path_of() { echo "$CONFIGFS/core/user_$1/t$(($1 % 4))-$1"; }

# create NUMBER, delete NUMBER: one hand-made backstore of the smallest ring, in an HBA of its own.
create() {
    writer_path=$(path_of "$1")
    mkdir -p "$writer_path" || return 1
    # What was refused keeps its configuration.
    for control in "dev_config=file//tmp/mass$1.img" dev_size=1048576 cmd_ring_size_mb=1 max_data_area_mb=1; do
        put "$control" "$writer_path/control" || return 1
    done
    put 1 "$writer_path/enable" 2> /dev/null
}
delete() { rmdir "$(path_of "$1")"; }

uio_count() { find /sys/class/uio/ -name 'uio[0-9]*' | wc -l; }
more_uio_than() { [ "$(uio_count)" -gt "$1" ]; }
# devices_served NUMBER: as many are in service, by the daemon's own report.
devices_served() {
    [ "$(lunbox device list --json 2> /dev/null | grep -o '"health":"serving"' | wc -l)" = "$1" ]
}

# start_writers NUMBER COMMAND: COMMAND 1 … COMMAND NUMBER, each in a process of its own.
start_writers() {
    writers=
    for writer in $(seq 1 "$1"); do
        "$2" "$writer" &
        writers="$writers $!"
    done
}

# end_writers SECONDS: all end in time; sets failed_writers (how many did not succeed) and failed_numbers.
end_writers() {
    writer=0 failed_writers=0 failed_numbers=
    for writer_pid in $writers; do
        writer=$((writer + 1))
        within "$1" "end of writer $writer" gone "$writer_pid"
        wait "$writer_pid" || {
            failed_writers=$((failed_writers + 1))
            failed_numbers="$failed_numbers $writer"
        }
    done
}

# all NUMBER COMMAND: they end in time and succeed.
all() {
    start_writers "$1" "$2"
    end_writers 60
    [ "$failed_writers" = 0 ] || fail "$failed_writers of $1 writers failed:$failed_numbers"
}
