#!/usr/bin/env bash
# Kills a sweep (kill -9) or one of its workers at random instants (default 10 times), starts it again each time, and compares
# every table with those of the sweep that was never stopped, times apart:  scripts/kill_sweep.sh [KILLS] [REGLAB]
set -euo pipefail
kills=${1:-10}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
reglab=${2:-$here/target/debug/reglab}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
# In the place of the calling shell, so that what is killed is reglab itself.
sweep() { exec "$reglab" sweep wgsef --arm wgsef,magnitude method.latency_runs=0 checkpoint.every_steps=50 seed=0..9 --jobs 2 -q --results "$1"; }
(sweep whole) > /dev/null
for i in $(seq "$kills"); do
  (exec > /dev/null 2>> errors.txt; sweep killed) & child=$!
  sleep "$(python3 -c 'import random; print(random.uniform(0.6, 2.5))')"
  # Every third time the sweep itself, else a worker of it.
  victim=$child
  if [ $((i % 3)) -ne 0 ]; then victim=$(pgrep -P $child | shuf -n 1 || true); fi
  if [ -n "$victim" ]; then
    if kill -9 "$victim" 2>/dev/null; then echo "kill $i: $([ "$victim" = "$child" ] && echo the sweep || echo a worker)"; fi
  fi
  # A worker's death does not end the sweep: this does, and the next call goes on.
  if [ "$victim" != "$child" ]; then sleep 0.5; kill -9 $child 2>/dev/null || true; fi
  wait $child 2>/dev/null || true
done
(sweep killed) > /dev/null || (sweep killed) > /dev/null
python3 - <<'PYTHON'
import csv, glob, json, os, sys
def runs(tree):
    return {os.path.basename(os.path.dirname(p)): os.path.dirname(p) for p in glob.glob(f"{tree}/prune/wgsef/*/config.toml")}
def tables(run):
    found = {}
    for path in glob.glob(os.path.join(run, "*.csv")):
        rows = list(csv.reader(open(path)))
        time = rows[0].index("time_s")
        found[os.path.basename(path)] = [row[:time] + row[time + 1:] for row in rows]
    return found
whole, killed = runs("whole"), runs("killed")
assert set(whole) == set(killed) and len(whole) == 20, f"{len(whole)} runs, {len(killed)} after the kills"
for name in whole:
    assert json.load(open(f"{killed[name]}/run.json"))["status"] == "done", f"{name} is not done"
    assert tables(whole[name]) == tables(killed[name]), f"the tables of {name} differ"
resumed = sum("resumed at step" in open(f"{run}/log.txt").read() for run in killed.values())
print(f"{len(killed)} runs done exactly once, {resumed} of them resumed; all tables equal")
PYTHON
