#!/bin/sh
# Handlers that cannot be loaded and configurations that cannot be served: the log names the problem, `enable` fails
# at once, nothing stays behind, and the others are served.
# limit: 120
# machines: uml
. /host/tests/lib.sh

mkdir -p /tmp/handlers /tmp/directory /mnt/read-only /tmp/writable /mnt/bound
cp "$HANDLERS"/handler_* /tmp/handlers/
head -c 20000 "$HANDLERS/handler_file.wasm" > /tmp/handlers/handler_cut.wasm
head -c 65536 /dev/urandom > /tmp/handlers/handler_random.wasm
HANDLERS=/tmp/handlers
start_lunboxd
# not_loaded FILE REMEDY
not_loaded() {
    grep "ERROR.*handler not loaded" "$LOG" | grep "$1" > "$SCRATCH/line" || fail "the log does not name $1"
    cat "$SCRATCH/line"
    grep -q "$2" "$SCRATCH/line" || fail "the log does not say what to do about $1"
}
not_loaded handler_cut.wasm 'copy it again'
not_loaded handler_random.wasm 'name a .wasm file'

mount -t tmpfs -o ro none /mnt/read-only
: > /tmp/writable/existing.img
mount --bind /tmp/writable /mnt/bound
mount -o remount,bind,ro /mnt/bound
ln -s /tmp/no-such-target.img /tmp/dangling
ln -s /dev /tmp/devices
mknod /tmp/character c 1 3
mk_user taken file//tmp/taken.img $((16 * MIB))

count() { find "/proc/$DAEMON/$1" -mindepth 1 -maxdepth 1 | wc -l; }
# is_back_to WHAT NUMBER
is_back_to() { [ "$(count "$1")" = "$2" ]; }

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

descriptors=$(count fd) threads=$(count task)
refused unknown-subtype 'nosuch.*file|file.*nosuch' nosuch//tmp/x "$MIB"
refused empty-path 'path' file/ "$MIB"
refused relative-path 'absolute' file/relative.img "$MIB"
refused missing-folder '/no/such/folder' file//no/such/folder/x.img "$MIB"
refused directory 'directory' file//tmp/directory "$MIB"
refused character-device 'regular file' file//tmp/character "$MIB"
refused read-only-folder '/mnt/read-only' file//mnt/read-only/x.img "$MIB"
refused dangling-link '/tmp/dangling.*leads nowhere' file//tmp/dangling "$MIB"
refused linked-dev 'outside of /dev' file//tmp/devices/no-such-disk "$MIB"
refused size-zero 'size' file//tmp/zero.img 0
refused odd-size '1000000.*512|512.*1000000' file//tmp/odd.img 1000000
refused odd-block '1000' file//tmp/odd.img 1000000 hw_block_size=1000
refused shared-file 'taken' file//tmp/taken.img $((16 * MIB))
refused not-utf-8 'UTF-8' "$(printf 'file//tmp/\377\376.img')" "$MIB"
refused colons 'subtype' 'file:/tmp/x.img' "$MIB"
refused no-option 'nosuch' 'mirror//tmp/x.img;copy=/tmp/y.img;nosuch=1' "$MIB"
refused only-slashes 'path|directory' 'file////' "$MIB"
[ ! -e /tmp/no-such-target.img ] || fail "the target of a dangling link was created"
[ ! -e /dev/no-such-disk ] || fail "a file was created in /dev"
within 5 "file descriptors are back to $descriptors" is_back_to fd "$descriptors"
within 5 "threads are back to $threads" is_back_to task "$threads"

say "as long as the kernel takes, and longer: it cuts at 255 bytes, and nobody hangs"
for length in 255 256 400; do
    name=$(head -c $((length - 10)) /dev/zero | tr '\0' x)
    try_user "long$length" "file//tmp/$name" "$MIB"
    say "$length bytes: enable ended with $?, $(cat "$CONFIGFS/core/user_0/long$length/enable")"
    rm_user "long$length"
    within 5 "its UIO device goes away" has_no_uio "long$length"
    rm -f "/tmp/xxxx"*
    daemon_alive
done
mk_user odd "file//tmp/a:b;c=d;.img" "$MIB"
exists "/tmp/a:b;c=d;.img" || fail "no file of that name: $(ls /tmp)"
rm_user odd

say "a good one is still served"
mk_user good file//tmp/good.img $((16 * MIB))
map_loop good 0
must 30 dd if=/dev/urandom of="/dev/$DISK" bs=64k count=16 oflag=direct
remove_cleanly good 0
rm_user taken
no_kernel_errors
stop_lunboxd || fail "lunboxd ended with status $?"
say "done"
