#!/usr/bin/env bash
# Kills the quick run of wgsef at random instants (default 20), resumes each, and compares every table with the run that was
# never stopped, times apart:  scripts/kill_and_resume.sh [KILLS] [REGLAB]
set -euo pipefail
kills=${1:-20}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
reglab=${2:-$here/target/debug/reglab}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
run() { (run_in_place "$@"); }
# In the place of the calling shell, so that what is killed is reglab itself.
run_in_place() { exec "$reglab" prune wgsef --arm wgsef --name "$1" -q method.latency_runs=0 checkpoint.every_steps=50 "${@:2}"; }
# Every column but time_s, of every table.
tables() {
  python3 - "results/prune/wgsef/$1" <<'PYTHON'
import csv, glob, os, sys
for path in sorted(glob.glob(os.path.join(sys.argv[1], "*.csv"))):
    rows = list(csv.reader(open(path)))
    time = rows[0].index("time_s")
    print(os.path.basename(path))
    for row in rows:
        print(",".join(row[:time] + row[time + 1:]))
PYTHON
}
seconds() { python3 -c 'import time; print(time.time())'; }
begin=$(seconds)
run whole > /dev/null
length=$(python3 -c "print($(seconds) - $begin)")
tables whole > whole.txt
failed=0 caught=0
for i in $(seq "$kills"); do
  (exec > /dev/null 2>&1; run_in_place "k$i") & child=$!
  sleep "$(python3 -c "import random; print(random.uniform(0.05, 0.95) * $length)")"
  kill -9 $child 2>/dev/null || true
  wait $child 2>/dev/null || true
  [ -e "results/prune/wgsef/k$i/summary.json" ] || caught=$((caught + 1))
  if [ -e "results/prune/wgsef/k$i/config.toml" ]; then
    "$reglab" resume "results/prune/wgsef/k$i" -q > /dev/null
  else
    run "k$i" --force > /dev/null
  fi
  tables "k$i" > "k$i.txt"
  cmp -s whole.txt "k$i.txt" || { echo "kill $i: the tables differ"; diff whole.txt "k$i.txt" | head -5; failed=$((failed + 1)); }
done
echo "$kills kills, $caught of them before the end: $((kills - failed)) equal, $failed different"
[ "$failed" -eq 0 ]
