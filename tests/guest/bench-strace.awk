# Counts system calls in the output of `strace -f -ttt -y`; prints one line of JSON that starts with `head`.
# mode=idle: all calls. mode=window: those from the first to the last on the UIO device `uio`, which is when I/O was
# going on, and the doorbells among them (writes to it). A call that was under way when the trace began has no start
# line of its own and does not count; strace's attaching makes a restart_syscall of it.
{
    sub(/^[0-9]+ +/, "")
    time = $1
    sub(/^[0-9.]+ /, "")
    if ($0 !~ /^[a-z_0-9]+\(/ || $0 ~ /^restart_syscall\(/) next
    name = substr($0, 1, index($0, "(") - 1)
    on_uio = mode == "window" && index($0, uio) > 0
    if (mode == "idle" || on_uio || started) {
        if (!started) { started = 1; first = time }
        waiting[name]++
        if (on_uio && name == "write") doorbells++
    }
    if (mode == "idle" || on_uio) {
        last = time
        for (call in waiting) { calls[call] += waiting[call]; delete waiting[call] }
    }
}
END {
    printf "{%s,\"seconds\":%.6f,\"doorbells\":%d,\"calls\":{", head, last - first, doorbells
    for (call in calls) { printf "%s\"%s\":%d", comma, call, calls[call]; comma = "," }
    print "}}"
}
