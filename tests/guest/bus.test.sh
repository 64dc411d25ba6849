#!/bin/sh
# The D-Bus service beside that of the image's tcmu-runner: the same objects, interfaces and replies; and where the
# original is open to abuse, refusals.
# limit: 230
# machines: uml
. /host/tests/lib.sh
. /host/tests/lib-bus.sh

# replies SUBTYPE: what both must answer alike; names of errors count, their texts do not.
replies() {
    error_name() { sed 's/.*GDBus.Error:\([A-Za-z0-9.]*\): .*/error \1/; /^(According/d; /^Warning: Intro/d'; }
    good=$1//tmp/never-made.img
    echo "good: $(check_config "$1" "$good")"
    echo "not owned: $(register nobody_has_it)"
    echo "no name: $(register 'foo bar') $(register '')"
    echo "no such method: $(bus "$BUS_ROOT/$1" org.kernel.TCMUService1.NoSuch | error_name)"
    echo "UnregisterHandler: $(bus "$BUS_ROOT/HandlerManager1" "${REGISTER%Register*}UnregisterHandler" x | error_name)"
    echo "no argument: $(bus "$BUS_ROOT/$1" "$CHECK" | error_name)"
    echo "two arguments: $(bus "$BUS_ROOT/$1" "$CHECK" "$good" 2 | error_name)"
    echo "no such object: $(bus "$BUS_ROOT/nosuch" "$CHECK" x | grep -c GDBus.Error)"
    echo "set: $(bus "$BUS_ROOT/$1" org.freedesktop.DBus.Properties.Set "$BUS_NAME" ConfigDesc "<'x'>" | grep -c GDBus.Error)"
    echo "ping: $(bus "$BUS_ROOT" org.freedesktop.DBus.Peer.Ping)"

    mkfifo "$SCRATCH/hold-$1"
    /host/tests/external-handler.py outside < "$SCRATCH/hold-$1" > "$SCRATCH/external" 2>&1 &
    external=$!
    exec 9> "$SCRATCH/hold-$1"
    within 20 "the external handler is answered" [ -s "$SCRATCH/external" ]
    echo "registered: $(cat "$SCRATCH/external") $(is_managed outside && echo shown)"
    echo "help: $(bus "$BUS_ROOT/outside" org.freedesktop.DBus.Properties.Get "$BUS_NAME" ConfigDesc)"
    for config in good bad; do echo "$config: $(check_config outside outside/$config)"; done
    echo "broken: $(check_config outside outside/other | grep -c "^(false, '.*it broke')")"
    exec 9>&-
    within 20 "the external handler ends" gone "$external"
    within 10 "its object goes with it" not is_managed outside
    echo "gone: $(check_config outside outside/good | grep -c GDBus.Error)"
}

say "the original"
start_runner
must 20 /host/tests/bus-facts.py
cp "$SCRATCH/must" "$SCRATCH/facts.runner"
replies qcow > "$SCRATCH/replies.runner"
stop_runner

say "lunboxd"
mkdir -p /tmp/handlers
cp "$HANDLERS"/handler_* /tmp/handlers/
HANDLERS=/tmp/handlers
use_our_policy
gdbus monitor --system --dest "$BUS_NAME" > "$SCRATCH/signals" 2>&1 &
monitor=$!
start_lunboxd
within 10 "lunboxd owns its bus name" bus_name_owned "$BUS_NAME"
must 20 /host/tests/bus-facts.py
cp "$SCRATCH/must" "$SCRATCH/facts.lunboxd"
replies file > "$SCRATCH/replies.lunboxd"

cat "$SCRATCH/replies.lunboxd"
diff "$SCRATCH/facts.runner" "$SCRATCH/facts.lunboxd" || fail "objects or interfaces differ (< tcmu-runner, > lunboxd)"
say "$(wc -l < "$SCRATCH/facts.lunboxd") facts of objects and interfaces are equal"
diff "$SCRATCH/replies.runner" "$SCRATCH/replies.lunboxd" || fail "replies differ (< tcmu-runner, > lunboxd)"
[ ! -e /tmp/never-made.img ] || fail "CheckConfig made a file"
for subtype in file mirror null; do is_managed $subtype || fail "$subtype is not shown"; done
for signal in InterfacesAdded InterfacesRemoved; do
    within 10 "$signal was sent" grep -q "$signal.*TCMUService1/outside" "$SCRATCH/signals"
done
if grep -q PropertiesChanged "$SCRATCH/signals"; then fail "PropertiesChanged was sent"; fi

say "what tcmu-runner never said: configurations that can not be served"
# Each to the subtype that it names, but for the last ones: they name another, or none.
for bad in file/ file/relative.img mirror//tmp/one.img 'mirror//tmp/x;copy=/tmp/y;nosuch=1' other//tmp/x file ''; do
    asked=${bad%%/*}
    case $bad in mirror/* | file/*) ;; *) asked=file ;; esac
    answers_like "^\(false, ['\"].+['\"]\)$" check_config $asked "$bad"
    case $answers_got in *"
"*) fail "more than one line: $answers_got" ;; esac
    say "$bad: $answers_got"
done

say "who may what"
as_nobody() { setpriv --reuid nobody --regid nogroup --clear-groups "$@"; }
denied() {
    bounded 20 as_nobody gdbus call --system --dest "$BUS_NAME" --object-path "$BUS_ROOT/$1" --method "$2" x ${3:+"$3"} \
        > "$SCRATCH/denied" 2>&1 && fail "nobody may call $2"
    grep -q AccessDenied "$SCRATCH/denied" || fail "$2 as nobody: $(cat "$SCRATCH/denied")"
}
denied file "$CHECK"
denied HandlerManager1 "$REGISTER" help
must 20 as_nobody gdbus call --system --dest "$BUS_NAME" --object-path "$BUS_ROOT" \
    --method org.freedesktop.DBus.ObjectManager.GetManagedObjects
if bounded 20 as_nobody gdbus call --system --dest org.freedesktop.DBus --object-path /org/freedesktop/DBus \
    --method org.freedesktop.DBus.RequestName "$BUS_NAME.HandlerManager1.evil" 4 > "$SCRATCH/denied" 2>&1; then
    fail "nobody may own a handler's name: $(cat "$SCRATCH/denied")"
fi
answers_like "^\(false, .*taken" register file

say "too long, too many"
answers_like "^\(false, ['\"].*255" check_config file "file//tmp/$(head -c 246 /dev/zero | tr '\0' x)"
answers "(true, 'success')" check_config file "file//tmp/$(head -c 245 /dev/zero | tr '\0' x)"
cat > "$SCRATCH/long.py" << 'PYTHON'
import dbus, sys
bus = dbus.SystemBus()
def call(path, interface, method, *arguments):
    return tuple(bus.get_object("org.kernel.TCMUService1", path, introspect=False)
                 .get_dbus_method(method, interface)(*arguments))
root = "/org/kernel/TCMUService1"
for size in (4097, 65536, 8 << 20):
    valid, message = call(root + "/file", "org.kernel.TCMUService1", "CheckConfig", "file/" + "x" * size)
    assert not valid and len(message) < 500, message
    valid, message = call(root + "/HandlerManager1", "org.kernel.TCMUService1.HandlerManager1", "RegisterHandler",
                          "x" * size, "help")
    assert not valid and len(message) < 500, message
from dbus.mainloop.glib import DBusGMainLoop
from gi.repository import GLib
bus = dbus.SystemBus(mainloop=DBusGMainLoop(), private=True)
loop, answers = GLib.MainLoop(), []
def answered(*reply):
    answers.append(reply)
    if len(answers) == 100:
        loop.quit()
handler = dbus.Interface(bus.get_object("org.kernel.TCMUService1", root + "/file", introspect=False),
                         "org.kernel.TCMUService1")
for _ in range(100):
    handler.CheckConfig("file//tmp/x.img", reply_handler=answered, error_handler=answered, timeout=30)
loop.run()
good = answers.count((True, "success"))
assert good == 100, (good, answers)
print(good, "of 100 checks at once by root are good")
PYTHON
must 60 python3 "$SCRATCH/long.py"
cat "$SCRATCH/must"
daemon_alive

say "a handler outside that never answers holds nobody up"
mkfifo "$SCRATCH/hold"
/host/tests/external-handler.py slow < "$SCRATCH/hold" > "$SCRATCH/external" 2>&1 &
external=$!
exec 9> "$SCRATCH/hold"
within 20 "the external handler is answered" grep -q succeeded "$SCRATCH/external"
answers_like "^\(false, .*already" register slow
check_config slow slow/never > "$SCRATCH/never" &
never=$!
mk_user disk file//tmp/disk.img $((16 * MIB))
rm_user disk
is_managed file || fail "the bus is held up"
within 30 "the call is answered without it" gone "$never"
grep -q '^(false, ' "$SCRATCH/never" || fail "an unanswered check: $(cat "$SCRATCH/never")"
say "unanswered: $(cat "$SCRATCH/never")"
exec 9>&-
within 20 "the external handler ends" gone "$external"

say "handlers that vanish and appear"
: > "$SCRATCH/signals"
mv /tmp/handlers/handler_null.wasm /tmp/
within 20 "null vanishes" not is_managed null
mv /tmp/handler_null.wasm /tmp/handlers/
within 30 "null appears" is_managed null
within 10 "InterfacesRemoved was sent" grep -q 'InterfacesRemoved.*TCMUService1/null' "$SCRATCH/signals"
within 10 "InterfacesAdded was sent" grep -q 'InterfacesAdded.*TCMUService1/null' "$SCRATCH/signals"

kill "$monitor"
no_kernel_errors
stop_lunboxd || fail "lunboxd ended with status $?"
within 10 "the bus name is free" not bus_name_owned "$BUS_NAME"
say "done"
