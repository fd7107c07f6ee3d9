#!/usr/bin/env bash
# Unpacks what reglab is built on into this checkout. Run it again at any time: what is there stays.
#
#   scripts/setup.sh            libtorch 2.11.0 into .libtorch/ (the official PyTorch wheel, 0.5 GB to download)
#   scripts/setup.sh --cuda     and the libraries for an NVIDIA GPU (2.5 GB more; Linux; driver 580 or newer)
#   scripts/setup.sh --peers    and .peers/, a Python that runs PyTorch from the same files: only for scripts/bench
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

TORCH=torch==2.11.0
# libtorch_cpu itself is linked with the CUDA runtime and profiler, even for a machine without a GPU.
LINUX=(nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85)
# The rest of torch's Requires-Dist (CUDA toolkit 13.0.2), and the CUDA headers.
CUDA=(
  nvidia-cublas==13.1.0.3 nvidia-cufft==12.0.0.61 nvidia-cufile==1.15.1.6 nvidia-curand==10.4.0.35
  nvidia-cusolver==12.0.4.66 nvidia-cusparse==12.6.3.3 nvidia-nvjitlink==13.0.88 nvidia-cuda-nvrtc==13.0.88
  nvidia-nvtx==13.0.85 nvidia-cudnn-cu13==9.19.0.56 nvidia-cusparselt-cu13==0.8.0 nvidia-nccl-cu13==2.28.9
  nvidia-nvshmem-cu13==3.4.5 nvidia-cuda-crt==13.0.88
)

say() { echo "setup: $*"; }
die() { echo "setup: error: $*" >&2; exit 1; }

usage() { sed -n '2,/^set -/{s/^# \{0,1\}//;/^set -/!p;}' "$0"; }

check_tools() {
  local debian="sudo apt-get install"
  command -v cargo >/dev/null || die "cargo is missing: install Rust 1.85 or newer, https://rustup.rs"
  command -v "${CXX:-c++}" >/dev/null ||
    die "a C++ compiler is missing: '$debian g++' on Debian or Ubuntu, 'xcode-select --install' on macOS"
  command -v python3 >/dev/null || die "python3 is missing: '$debian python3 python3-pip', or https://www.python.org"
  python3 -m pip --version >/dev/null 2>&1 ||
    die "pip is missing: '$debian python3-pip' on Debian or Ubuntu, else 'python3 -m ensurepip'"
  python3 -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' ||
    die "PyTorch 2.11 is published for Python 3.10 to 3.14, but python3 is $(python3 -V 2>&1)"
  case "$(uname -s)-$(uname -m)" in
    Linux-x86_64 | Linux-aarch64 | Darwin-arm64) ;;
    *) die "PyTorch 2.11 is not published for $(uname -s) on $(uname -m)" ;;
  esac
}

# The folder that pip leaves for a requirement: nvidia-nvtx==13.0.85 is in nvidia_nvtx-13.0.85.dist-info.
record() { local name=${1%%==*}; echo "${name//-/_}-${1##*==}.dist-info"; }

check_disk() {
  local free
  free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1000000) }')
  [ "$free" -ge "$1" ] || die "$(pwd) has $free GB left on its disk, but unpacking needs $1 GB"
}

# .libtorch is only ever a whole one: a new one is put together in .libtorch.new and renamed.
unpack_libtorch() {
  local missing=() requirement
  for requirement in "$@"; do
    [ -d ".libtorch/$(record "$requirement")" ] || missing+=("$requirement")
  done
  if [ ${#missing[@]} -eq 0 ]; then
    say "libtorch is there (.libtorch)"
    return
  fi
  check_disk $(( ${#missing[@]} > 4 ? 8 : 3 ))
  say "unpacking ${missing[*]}"
  rm -rf .libtorch.new .libtorch.old
  python3 -m pip install --quiet --no-deps --no-compile --target .libtorch.new "${missing[@]}" ||
    die "pip could not fetch ${missing[*]}; is the network there? (PIP_INDEX_URL names a package index of your own)"
  if [ -e .libtorch ]; then
    # What was there joins the new files by hard links, which cost neither space nor time.
    cp -aln .libtorch/. .libtorch.new/
    mv .libtorch .libtorch.old
  fi
  mv .libtorch.new .libtorch
  rm -rf .libtorch.old
  say "libtorch is there (.libtorch)"
}

# A virtual environment whose torch is .libtorch's. It is made without pip, for Debian's python3 lacks what a whole one
# needs, and pip fills it from outside.
make_peers() {
  local wanted site
  wanted=$(grep -v '^#' scripts/bench/requirements.txt)
  # torch.compile writes its GPU kernels in triton.
  [ ! -e .libtorch/nvidia/cu13/lib/libcublas.so.13 ] || wanted+=$'\ntriton==3.6.0'
  if [ "$(cat .peers/requirements.txt 2>/dev/null)" = "$wanted" ]; then
    say "the peers' Python is there (.peers)"
    return
  fi
  say "making the peers' Python (.peers)"
  rm -rf .peers.new
  python3 -m venv --without-pip .peers.new ||
    die "python3 has no venv module: 'sudo apt-get install python3-venv' on Debian or Ubuntu"
  site=.peers.new/$(cd .peers.new && bin/python -c 'import os, sysconfig; print(os.path.relpath(sysconfig.get_path("purelib")))')
  echo "$wanted" > .peers.new/requirements.txt
  python3 -m pip install --quiet --target "$site" --requirement .peers.new/requirements.txt ||
    die "pip could not fetch what scripts/bench/requirements.txt lists"
  cp scripts/bench/without_cuda.py "$site"
  printf '%s\n' ../../../../.libtorch 'import without_cuda' > "$site/libtorch.pth"
  [ "$(uname -s)" != Linux ] || stand_in_for_cuda "$site/cuda_stand_ins"
  rm -rf .peers
  mv .peers.new .peers
  .peers/bin/python -W ignore -c 'import torch' || die "PyTorch does not load in .peers/bin/python (see above)"
  say "the peers' Python is there (.peers)"
}

# Empty libraries by the names of the CUDA libraries that are not here: see scripts/bench/without_cuda.py.
stand_in_for_cuda() {
  local name version
  mkdir -p "$1"
  for name in $(ldd .libtorch/torch/lib/libtorch_python.so | awk '/not found/ { print $1 }' | sort -u); do
    # Symbols are looked up under a version of the library's own name, but for this one.
    version=$name
    [ "$name" != libnvshmem_host.so.3 ] || version=NVSHMEM
    echo "$version {};" > "$1/versions"
    "${CXX:-c++}" -x c /dev/null -shared -nostdlib -Wl,-soname,"$name" -Wl,--version-script="$1/versions" -o "$1/$name"
  done
}

cuda=false peers=false
for argument in "$@"; do
  case "$argument" in
    --cuda) cuda=true ;;
    --peers) peers=true ;;
    -h | --help) usage; exit ;;
    *) die "unknown argument $argument; there are --cuda, --peers and --help" ;;
  esac
done

check_tools
if [ -n "${LIBTORCH:-}" ]; then
  [ -e "$LIBTORCH/include/ATen/ATen.h" ] || die "LIBTORCH = $LIBTORCH, but there is no libtorch there; unset it to use .libtorch"
  say "LIBTORCH = $LIBTORCH is used as it is"
elif [ "$(uname -s)" = Darwin ]; then
  ! $cuda || die "--cuda: there is no CUDA on macOS"
  unpack_libtorch "$TORCH"
elif $cuda; then
  unpack_libtorch "$TORCH" "${LINUX[@]}" "${CUDA[@]}"
else
  unpack_libtorch "$TORCH" "${LINUX[@]}"
  if [ ! -e .libtorch/nvidia/cu13/lib/libcublas.so.13 ] && nvidia-smi -L >/dev/null 2>&1; then
    say "this machine has an NVIDIA GPU: 'scripts/setup.sh --cuda' makes reglab use it"
  fi
fi
! $peers || make_peers
