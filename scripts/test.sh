#!/usr/bin/env bash
# Sets up what is missing and runs all tests; arguments go to cargo test. The last lines are each test program's summary.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh
# Test programs run many tests at once, each on its own thread.
export OMP_NUM_THREADS=1
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
cargo test --no-fail-fast "$@" 2>&1 | tee "$log" || status=$?
echo
grep -E '^ +(Running|Doc-tests) |^test result: ' "$log" || true
exit "$status"
