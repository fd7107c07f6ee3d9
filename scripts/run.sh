#!/usr/bin/env bash
# Sets up what is missing, builds reglab and runs it:  scripts/run.sh [ARGUMENTS]   (default: prune wgsef)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$root/scripts/setup.sh"
(cd "$root" && cargo build --release)  # there, for cargo finds .cargo/config.toml from where it is run
[ $# -gt 0 ] || set -- prune wgsef
exec "${CARGO_TARGET_DIR:-$root/target}/release/reglab" "$@"
