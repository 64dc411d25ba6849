#!/bin/sh
# Tenants: each has a worker of its own that holds nothing but its own descriptors, reaches no path and no network, and
# whose end is nobody else's. What policy.toml does not allow is refused with the reason.
# limit: 240
# machines: uml smp
. /host/tests/lib.sh

mkdir -p /srv/acme /srv/blue /srv/other
cat > /tmp/policy.toml << 'POLICY'
version = 1
[[tenant]]
name = "acme"
match = [{ device = "acme-*" }]
roots = ["/srv/acme"]
handlers = ["file"]
[[tenant]]
name = "blue"
match = [{ device = "blue-*" }]
roots = ["/srv/blue"]
shared = ["/srv/blue/shared-*"]
user = "nobody"
[[tenant]]
name = "none"
match = [{ device = "none-*" }]
handlers = []
POLICY
says 'acme' 20 lunbox policy check /tmp/policy.toml --device 0/acme-1=file//srv/acme/a.img
printf 'version = 1\n[[tenant]]\nname = "A/B"\nmach = 1\n' > /tmp/bad.toml
if bounded 20 lunbox policy check /tmp/bad.toml > "$SCRATCH/check" 2>&1; then fail "a bad policy passed"; fi
grep -q 'mach' "$SCRATCH/check" && grep -q 'A/B' "$SCRATCH/check" || fail "not every error is told: $(cat "$SCRATCH/check")"

start_lunboxd --policy /tmp/policy.toml
worker_of() { pgrep -f "[w]orker --tenant $1"; }
mk_user acme-1 file//srv/acme/a.img $((64 * MIB))
map_loop acme-1 0
acme_disk=$DISK
mk_user blue-1 file//srv/blue/b.img $((64 * MIB))
map_loop blue-1 1
blue_disk=$DISK
mk_user plain file//tmp/plain.img $((64 * MIB))
acme=$(worker_of acme) blue=$(worker_of blue) plain=$(worker_of default)
[ -n "$acme" ] && [ -n "$blue" ] && [ -n "$plain" ] || fail "workers: acme $acme, blue $blue, default $plain"
start_load "$acme_disk" acme
acme_load=$load_pid
start_load "$blue_disk" blue
blue_load=$load_pid

say "a worker has no rights, no paths, no environment, no network"
for worker in $acme $blue $plain; do
    status=$(cat "/proc/$worker/status")
    echo "$status" | grep -E '^Cap(Inh|Prm|Eff|Bnd|Amb):' | grep -qv '0000000000000000' && fail "worker $worker has capabilities"
    echo "$status" | grep -q '^NoNewPrivs:[[:space:]]*1' || fail "worker $worker may gain privileges"
    echo "$status" | grep -q '^Seccomp:[[:space:]]*2' || fail "worker $worker has no system-call filter"
    [ ! -s "/proc/$worker/environ" ] || fail "worker $worker has an environment"
    [ -z "$(ls -A "/proc/$worker/root/" 2> /dev/null)" ] || fail "worker $worker sees files: $(ls -A "/proc/$worker/root/")"
    [ "$(sed 1,2d "/proc/$worker/net/dev" | grep -cv 'lo:')" = 0 ] || fail "worker $worker sees network devices"
done
grep -q "^Uid:[[:space:]]*$(id -u nobody)[[:space:]]" "/proc/$blue/status" || fail "blue's worker does not run as nobody"

say "a worker holds its own tenant's descriptors only"
descriptors() { ls -l "/proc/$1/fd" | sed -n 's/.* -> //p'; }
descriptors "$acme" | grep -q '/srv/acme/a.img' || fail "acme's worker does not hold its store"
for pair in "$acme:/srv/blue" "$blue:/srv/acme" "$plain:/srv/"; do
    if descriptors "${pair%%:*}" | grep -q "${pair#*:}"; then fail "worker ${pair%%:*} holds something of ${pair#*:}"; fi
done
for worker in $acme $blue $plain; do
    [ "$(descriptors "$worker" | grep '^/dev/uio' | sort -u | wc -l)" = 1 ] || fail "worker $worker holds other UIO nodes than its own"
    if descriptors "$worker" | grep -Eq '/sys/|/run/tcmu.lock|/etc/|/dev/tty'; then fail "worker $worker holds: $(descriptors "$worker")"; fi
done

say "one tenant's crash is one tenant's"
restarts=$(completed "$blue_disk")
kill -KILL "$acme"
within 60 "I/O of acme" completed_more_than "$acme_disk" "$(($(completed "$acme_disk") + 20))"
[ "$(worker_of blue)" = "$blue" ] && [ "$(worker_of default)" = "$plain" ] || fail "other workers were replaced"
within 20 "I/O of blue" completed_more_than "$blue_disk" "$((restarts + 20))"
load_ok acme
load_ok blue

say "what was granted is shown"
says '/srv/acme/a.img' 20 lunbox device show acme-1
says '"tenant": *"blue"' 20 lunbox device show blue-1 --json
says 'acme' 20 lunbox worker list
says 'acme-1' 20 lunbox device list
says 'worker' 20 lunbox status

say "what is not allowed is refused with the reason"
echo secret > /srv/other/secret
ln -s /srv/other/secret /srv/acme/link
mkdir -p /srv/other/directory
ln -s /srv/other/directory /srv/acme/way-out
refused() { # NAME CFGSTRING REASON
    log_mark
    if try_user "$1" "$2" $((16 * MIB)); then fail "$2 was not refused"; fi
    within 10 "the log says why $2 is refused ($3)" log_says "$3"
    rmdir "$CONFIGFS/core/user_0/$1" || fail "rmdir $1"
}
refused acme-2 file//srv/other/file.img 'acme|root'
refused acme-2 file//srv/acme/../other/file.img '\.\.|root'
refused acme-2 file//srv/acme/link 'link'
refused acme-2 file//srv/acme/way-out/file.img 'root|link|outside|beneath'
refused acme-2 file//srv/acme/a.img 'in use'
refused none-1 file//srv/other/file.img 'handler'
[ ! -e /srv/other/file.img ] && [ ! -e /srv/other/directory/file.img ] || fail "a file was made outside of the root"

say "two devices write to one file only where policy says so"
mk_user blue-2 file//srv/blue/shared-1 $((16 * MIB))
mk_user blue-3 file//srv/blue/shared-1 $((16 * MIB))
rm_user blue-3
rm_user blue-2
refused blue-2 file//srv/blue/b.img 'in use'

say "a device is reset by hand"
must 20 lunbox device reset acme-1
within 60 "I/O of acme" completed_more_than "$acme_disk" "$(($(completed "$acme_disk") + 20))"

stop_load acme "$acme_load"
stop_load blue "$blue_load"
no_kernel_errors
remove_cleanly acme-1 0
remove_cleanly blue-1 1
rm_user plain
stop_lunboxd || fail "lunboxd ended with status $?"
say "done"
