#!/usr/bin/env bash
# One test in a process of its own, for run.sh: a fault on the GPU takes no other test with it.
# usage: one.sh PROGRAM TEST; prints a line, and keeps the test's output in $OUT/logs
log=$OUT/logs/$1.${2//:/_}.log
start=$(date +%s.%N)
timeout -k5 "${LIMIT:-90}" $OURS "./$1" --exact "$2" --nocapture --test-threads 1 >"$log" 2>&1
rc=$?
case $rc in
    0) grep -q '^skipped' "$log" && word=SKIPPED || word=ok ;;
    124 | 137) word=TIMEOUT ;;
    *) word=FAILED ;;
esac
printf '%-7s %5.1f s  %s %s  %s\n' "$word" "$(awk "BEGIN { print $(date +%s.%N) - $start }")" "$1" "$2" \
    "$(grep -m1 -A1 panicked "$log" | tr '\n' ' ' | cut -c1-300)"
