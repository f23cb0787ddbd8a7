#!/usr/bin/env bash
# What a CUDA device makes of biasvar: at most eight minutes, most valuable part first, into figures/gpu.
#
#     bash experiments/benchmarks/gpu.sh            every part that is not done yet
#     BIASVAR_GPU_DRY=1 bash experiments/benchmarks/gpu.sh     every part, tiny, on the CPU, into a temporary folder
#
# Needs a CUDA device, PyTorch 2.4 or newer and biasvar's dependencies; nothing is installed. PYTHON names the Python.
# CIFAR-10 is looked for in BIASVAR_DATA; BIASVAR_COMMIT is the commit, where there is no git. Each part has seconds of
# its own, is ended when they are over, and leaves one file: begun again, what is done is not done twice, and the
# training of the last part goes on from its checkpoints (in BIASVAR_GPU_WORK, else runs/gpu).
set -u
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1
export BIASVAR_GPU_DRY=${BIASVAR_GPU_DRY:-}
script=experiments/benchmarks/gpu.py
budget=${BIASVAR_GPU_SECONDS:-475}
began=$SECONDS

if [ -n "$BIASVAR_GPU_DRY" ]; then
  folder=$(mktemp -d)
  out=$folder/figures work=$folder/runs
  echo "gpu.sh: a dry run on the CPU; nothing of it is a result of a GPU. It writes $out"
else
  "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null || {
    echo "gpu.sh: needs a CUDA device and a Python with PyTorch that sees it; PYTHON=$PYTHON sees none" >&2
    exit 2
  }
  out=figures/gpu work=${BIASVAR_GPU_WORK:-runs/gpu}
fi
mkdir -p "$out" "$work"

failed=0
part() { # part NAME SECONDS: at most so many, and never more than are left, less ten for the page
  local name=$1 seconds=$2 left=$((budget - (SECONDS - began) - 10)) status
  if [ -f "$out/$name.json" ]; then echo "gpu.sh: $name is done already"; return; fi
  [ "$seconds" -lt "$left" ] || seconds=$left
  if [ "$seconds" -lt 10 ]; then echo "gpu.sh: no time left for $name; run it again"; failed=1; return; fi
  echo "gpu.sh: $name, at most $seconds s"
  BIASVAR_GPU_SECONDS=$seconds timeout --kill-after=5 "$seconds" "$PYTHON" "$script" "$name" "$out" "$work"
  status=$?
  [ "$status" = 0 ] || { echo "gpu.sh: $name ended with status $status after $((SECONDS - began)) s in all"; failed=1; }
}

part tests 100
part agreement 90
part recorder 80
part throughput 120
part together 30
part cifar10 400
"$PYTHON" "$script" page "$out" "$work" || failed=1
echo "gpu.sh: $((SECONDS - began)) s; $out/README.md"
exit "$failed"
