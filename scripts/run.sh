#!/usr/bin/env bash
# Sets up what is missing, builds reglab and runs it:  scripts/run.sh [ARGUMENTS]   (default: prune wgsef)
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
"$here/setup.sh"
cargo build --release --manifest-path "$here/../Cargo.toml"
[ $# -gt 0 ] || set -- prune wgsef
exec cargo run --release --quiet --manifest-path "$here/../Cargo.toml" -- "$@"
