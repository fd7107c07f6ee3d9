#!/usr/bin/env bash
# What a sweep costs beyond its runs: 200 runs of about a second, two at a time; exits 1 if it is 5% or more:
#   scripts/sweep_overhead.sh [RUNS] [REGLAB]
set -euo pipefail
runs=${1:-200}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
reglab=${2:-$here/target/debug/reglab}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
begin=$(date +%s.%N)
"$reglab" sweep wgsef --arm wgsef train.epochs=${EPOCHS:-100} "seed=0..$((runs - 1))" --jobs 2 -q > /dev/null
end=$(date +%s.%N)
python3 - "$begin" "$end" "$runs" <<'PYTHON'
import glob, json, sys
begin, end, runs = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
records = [json.load(open(path)) for path in glob.glob("results/prune/wgsef/*/run.json")]
assert len(records) == runs and all(r["status"] == "done" for r in records), "not every run is done"
work = sum(r["seconds"] for r in records)
overhead = 2 * (end - begin) / work - 1
print(f"{runs} runs of {work / runs:.2f} s, 2 at a time: {end - begin:.1f} s, {100 * overhead:.1f}% over the runs themselves")
sys.exit(overhead >= 0.05)
PYTHON
