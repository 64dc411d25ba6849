#!/bin/sh
# Other programs serve subtypes on the same machine: lunboxd answers for what nobody has, or leaves it alone, as
# tcmu.conf says; what is registered over the bus is left alone always, and served by whom it belongs to.
# limit: 120
# machines: uml
. /host/tests/lib.sh
. /host/tests/lib-bus.sh
CORE=$CONFIGFS/core/user_0
CONF=/etc/tcmu/tcmu.conf

# foreign SUBTYPE STATUS COUNT: starts a program that answers for SUBTYPE; sets OTHER.
foreign() {
    : > "$SCRATCH/other"
    /host/tests/answer-netlink.py "$@" > "$SCRATCH/other" 2>&1 &
    OTHER=$!
    within 20 "the other program listens" grep -q ready "$SCRATCH/other"
}
# external SUBTYPE: starts a program that registers SUBTYPE over the bus, and ends with descriptor 9; sets EXTERNAL.
external() {
    : > "$SCRATCH/external"
    /host/tests/external-handler.py "$1" < "$SCRATCH/hold" > "$SCRATCH/external" 2>&1 &
    EXTERNAL=$!
    exec 9> "$SCRATCH/hold"
    within 20 "the external handler is answered" grep -q succeeded "$SCRATCH/external"
}
make() {
    mkdir -p "$CORE/$1"
    put "dev_config=$2" "$CORE/$1/control"
    put "dev_size=$MIB" "$CORE/$1/control"
}

mkdir -p /etc/tcmu
use_our_policy
start_lunboxd

say "nobody's subtype is refused at once"
make theirs foo/anything
if bounded 5 put 1 "$CORE/theirs/enable" 2> /dev/null; then fail "a subtype that nobody has was accepted"; fi

say "left alone, by tcmu.conf: the other program answers"
log_mark
echo 'foreign_subtypes = leave' > "$CONF"
within 5 "the new setting is read" log_says 'foreign'
foreign foo 0 2
put 1 "$CORE/theirs/enable" &
writer=$!
within 10 "enable is answered by the other program" gone "$writer"
wait "$writer" || fail "enable failed although the other program said yes"
[ "$(cat "$CORE/theirs/enable")" = 1 ] || fail "it is not enabled"
must 10 rmdir "$CORE/theirs"
within 10 "the other program has answered both" gone "$OTHER"
cat "$SCRATCH/other"

say "and nobody else does: the writer waits for the other program, not for lunboxd"
make theirs foo/anything
put 1 "$CORE/theirs/enable" 2> /dev/null &
writer=$!
# Ours are served meanwhile; that takes its time, and the writer waits on.
mk_user ours file//tmp/ours.img "$MIB"
! gone "$writer" || fail "lunboxd answered for the other program"
# A program that starts now has missed the event; the kernel's own knobs free the writer. It is told EINTR, which a shell
# takes for a reason to try again: so new events stay blocked until it has given up.
put 1 /sys/module/target_core_user/parameters/block_netlink
put 1 /sys/module/target_core_user/parameters/reset_netlink
within 10 "the writer is freed" gone "$writer"
put 0 /sys/module/target_core_user/parameters/block_netlink
wait "$writer" && fail "enable succeeded without an answer"
must 10 rmdir "$CORE/theirs"
rm_user ours

say "registered over the bus: left alone whatever tcmu.conf says"
log_mark
# At level 4 the log tells what is left to others.
printf 'foreign_subtypes = answer\nlog_level = 4\n' > "$CONF"
within 5 "the new setting is read" log_says 'foreign'
within 10 "lunboxd owns its bus name" bus_name_owned "$BUS_NAME"
mkfifo "$SCRATCH/hold"
external foo
foreign foo 0 2
make theirs foo/anything
must 10 put 1 "$CORE/theirs/enable"
must 10 rmdir "$CORE/theirs"
within 10 "the other program has answered both" gone "$OTHER"

say "it vanishes while a removal and an enable wait for it: both are answered"
make gone foo/anything
foreign foo 0 1
must 10 put 1 "$CORE/gone/enable"
within 10 "the other program has answered" gone "$OTHER"
log_mark
# Without the descriptor that keeps the external handler.
rmdir "$CORE/gone" 9>&- &
remover=$!
within 10 "lunboxd leaves the removal alone" log_says 'left to another daemon'
! gone "$remover" || fail "lunboxd answered a removal for the external handler"
exec 9>&-
within 20 "the external handler ends" gone "$EXTERNAL"
within 10 "the removal is answered" gone "$remover"
wait "$remover" || fail "the removal failed"
within 10 "its object goes" not is_managed foo
external foo
make theirs foo/anything
log_mark
(exec 9>&-; put 1 "$CORE/theirs/enable") 2> /dev/null &
writer=$!
within 10 "lunboxd leaves the enable alone" log_says 'left to another daemon'
! gone "$writer" || fail "lunboxd answered an enable for the external handler"
exec 9>&-
within 20 "the external handler ends" gone "$EXTERNAL"
within 10 "enable is answered" gone "$writer"
wait "$writer" && fail "enable succeeded although nobody serves it"
must 10 rmdir "$CORE/theirs"

say "it has vanished: its subtype is nobody's again"
within 20 "the external handler ends" gone "$EXTERNAL"
within 10 "its object goes" not is_managed foo
make theirs foo/anything
if bounded 5 put 1 "$CORE/theirs/enable" 2> /dev/null; then fail "a subtype that nobody has was accepted"; fi
rmdir "$CORE/theirs"

say "a device of somebody else is there when lunboxd starts: not touched"
kill_lunboxd
echo 'foreign_subtypes = leave' > "$CONF"
foreign foo 0 2
make theirs foo/anything
must 10 put 1 "$CORE/theirs/enable"
log_mark
start_lunboxd
! log_says '(ERROR|WARN).*theirs' || fail "the other program's device is complained of"
[ "$(cat "$CORE/theirs/action/block_dev")" = unblocked ] || fail "the other program's device was blocked"
must 10 rmdir "$CORE/theirs"
within 10 "the other program has answered both" gone "$OTHER"

no_kernel_errors
stop_lunboxd || fail "lunboxd ended with status $?"
say "done"
