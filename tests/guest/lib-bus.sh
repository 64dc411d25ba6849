# The system bus as clients of the daemon see it; sourced after lib.sh.

BUS_NAME=org.kernel.TCMUService1
BUS_ROOT=/org/kernel/TCMUService1
CHECK=org.kernel.TCMUService1.CheckConfig
REGISTER=org.kernel.TCMUService1.HandlerManager1.RegisterHandler

# bus OBJECT METHOD [ARGUMENT…]: one call; prints the reply, or the error's name and text.
bus() {
    bus_object=$1 bus_method=$2
    shift 2
    gdbus call --system --timeout 25 --dest "$BUS_NAME" --object-path "$bus_object" --method "$bus_method" "$@" 2>&1
}
check_config() { bus "$BUS_ROOT/$1" "$CHECK" "$2"; }
register() { bus "$BUS_ROOT/HandlerManager1" "$REGISTER" "$1" "help of $1"; }
managed() { bus "$BUS_ROOT" org.freedesktop.DBus.ObjectManager.GetManagedObjects; }
# is_managed SUBTYPE
is_managed() { managed | grep -q "'$BUS_ROOT/$1'"; }
bus_name_owned() {
    gdbus call --system --dest org.freedesktop.DBus --object-path /org/freedesktop/DBus \
        --method org.freedesktop.DBus.NameHasOwner "$1" | grep -q true
}

# answers WANTED COMMAND…: what COMMAND prints is WANTED, to the byte.
answers() {
    answers_wanted=$1
    shift
    answers_got=$(bounded 30 "$@")
    [ "$answers_got" = "$answers_wanted" ] || fail "\`$*\` says $answers_got instead of $answers_wanted"
}
# answers_like PATTERN COMMAND…
answers_like() {
    answers_wanted=$1
    shift
    answers_got=$(bounded 30 "$@")
    echo "$answers_got" | grep -Eq -- "$answers_wanted" || fail "\`$*\` says $answers_got, not like $answers_wanted"
}

# The bus' rules are those that we install, not those of the image's tcmu-runner; and nobody starts that by asking for its
# name.
use_our_policy() {
    rm -f /usr/share/dbus-1/system-services/org.kernel.TCMUService1.service
    cp /host/install/dbus-policy.conf /etc/dbus-1/system.d/tcmu-runner.conf || fail "no bus policy in /host/install"
    must 10 dbus-send --system --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.ReloadConfig
}

# --- the original, to compare with

start_runner() {
    tcmu-runner > "$SCRATCH/runner" 2>&1 &
    RUNNER=$!
    within 60 "tcmu-runner owns its bus name" bus_name_owned "$BUS_NAME"
}
stop_runner() {
    kill -TERM "$RUNNER"
    within 20 "tcmu-runner ends" gone "$RUNNER"
    wait "$RUNNER"
}
