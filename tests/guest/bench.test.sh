#!/bin/sh
# The benchmark against tcmu-runner and fileio serves all its LUNs, measures them, counts calls and kills a worker. Its
# figures are not judged here: too short.
# limit: 240
# machines: uml
. /host/tests/lib.sh

export LUNBOX_BENCH_ROUNDS=1 LUNBOX_BENCH_MILLIS=200 LUNBOX_BENCH_LUN_MIB=16 LUNBOX_BENCH_TRACED=50 LUNBOX_BENCH_RESTARTS=2
export LUNBOX_BENCH_CASES='tmpfs:randread:4k:32:cst ext4:randwrite:4k:1:t'
results=/tmp/bench-results
bounded 230 sh /host/tests/bench.sh > "$results" || {
    cut -c 1-200 "$results"
    fail "bench.sh"
}

# results COUNT PATTERN: so many results match.
results() {
    found=$(grep -c "$2" "$results")
    [ "$found" = "$1" ] || {
        cut -c 1-200 "$results"
        fail "$found results match $2, not $1"
    }
}
results 1 '"kind":"machine","kernel":"Linux .*"runner":"tcmu-runner [0-9]'
results 5 '"kind":"counters","round":1,"job":"tmpfs:randread:4k:32:'
results 3 '"kind":"counters","round":1,"job":"ext4:randwrite:4k:1:'
results 1 '"kind":"fio","round":1,"report":{.*}}$'
for side in lunbox runner; do
    results 1 "\"kind\":\"idle\",\"side\":\"$side\""
    results 2 "\"kind\":\"trace\",\"job\":\".*:$side\",\"ios\":[1-9][0-9]*,.*\"doorbells\":[1-9]"
done
for devices in 1 16; do
    results 2 "\"kind\":\"memory\",\"side\":\"lunbox\",.*\"devices\":$devices,\"rss_kib\":[1-9]"
    results 1 "\"kind\":\"memory\",\"side\":\"single\",.*\"devices\":$devices,\"rss_kib\":[1-9]"
done
results 1 '"kind":"restart","milliseconds":\[[0-9.]*,[0-9.]*\]'
say "measured: $(grep -c '"kind":"counters"' "$results") jobs"
