#!/bin/sh
# Configurations that cannot be served: `enable` fails at once, the log names the problem, nothing stays behind.
# limit: 90
# machines: uml
. /host/tests/lib.sh

start_lunboxd
mkdir -p /tmp/directory /mnt/read-only
mount -t tmpfs -o ro none /mnt/read-only
mknod /tmp/character c 1 3
mk_user taken file//tmp/taken.img $((16 * MIB))

# refused NAME LOG-PATTERN CFGSTRING SIZE [CONTROL…]
refused() {
    name=$1 pattern=$2
    shift 2
    log_mark
    before=$(now)
    if try_user "$name" "$@"; then fail "$name ($*) was accepted"; fi
    took=$(($(now) - before))
    [ $took -lt 500 ] || fail "$name: refused only after $took hundredths of a second"
    [ "$(cat "$CONFIGFS/core/user_0/$name/enable")" = 0 ] || fail "$name is enabled although it was refused"
    within 5 "the log names the problem of $name (/$pattern/)" log_says "$pattern"
    tail -n "+$((log_marked + 1))" "$LOG"
    within 5 "the UIO device of $name goes away" has_no_uio "$name"
    rm_user "$name"
    daemon_alive
}

refused unknown-subtype 'nosuch.*file|file.*nosuch' nosuch//tmp/x "$MIB"
refused empty-path 'path' file/ "$MIB"
refused relative-path 'absolute' file/relative.img "$MIB"
refused missing-folder '/no/such/folder' file//no/such/folder/x.img "$MIB"
refused directory 'directory' file//tmp/directory "$MIB"
refused character-device 'regular file' file//tmp/character "$MIB"
refused read-only-folder '/mnt/read-only' file//mnt/read-only/x.img "$MIB"
refused odd-size '1000000.*512|512.*1000000' file//tmp/odd.img 1000000
refused odd-block '1000' file//tmp/odd.img 1000000 hw_block_size=1000
refused shared-file 'taken' file//tmp/taken.img $((16 * MIB))

say "a good one is still served"
mk_user good file//tmp/good.img $((16 * MIB))
map_loop good 0
must 30 dd if=/dev/urandom of="/dev/$DISK" bs=64k count=16 oflag=direct
remove_cleanly good 0
rm_user taken
no_kernel_errors
stop_lunboxd || fail "lunboxd ended with status $?"
say "done"
