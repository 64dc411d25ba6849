# Sums up the kernel's histograms (Documentation/trace/histogram.rst) over the threads of one process; prints one line
# of JSON that starts with `head`. Files: the threads' numbers, the histogram of doorbells by thread, that of system
# calls by thread and name.
FNR == 1 { file++ }
file == 1 { ours[$1] = 1; next }
/^\{ common_pid:/ {
    pid = $3
    gsub(/[^0-9]/, "", pid)
    if (!(pid in ours)) next
    count = $NF
    if (file == 2) { doorbells += count; next }
    name = $0
    sub(/.*id: */, "", name)
    sub(/ .*/, "", name)
    sub(/^sys_/, "", name)
    calls[name] += count
}
END {
    printf "{%s,\"doorbells\":%d,\"calls\":{", head, doorbells
    for (call in calls) { printf "%s\"%s\":%d", comma, call, calls[call]; comma = "," }
    print "}}"
}
