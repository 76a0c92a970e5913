#!/usr/bin/env bash
# All benchmarks on one GPU, the ones with targets first: `benchmarks/gpu.sh OUT [EXTRA_PYTHONPATH]`.
#
# OUT gets at most eight files: a JSON file a part and report.md, which is rewritten after every part and printed at the end;
# `python -m benchmarks.report --out OUT` draws the figure later. Environment variables:
#   PYTHON   the interpreter (python3)
#   MINUTES  for everything (8); a part for which less than 45 s are left is skipped
#   PARTS    what to run (row8,folds,photos,steps,paper,bf16,scaling: always in this order)
#   SIZE     small (photos of 64 x 64), or tiny: everything at a test's size, on a CPU if there is no GPU
#   TORCH    0: ours alone
#
# The machine needs no network, but jax with CUDA, flax, optax, jaxtyping, absl-py, rich; for photos and folds also numpy, pandas,
# scikit-learn, scipy, pillow, psutil, cloudpickle, etils; for folds also orbax-checkpoint and tensorboard; PyTorch with CUDA for
# theirs. What machines for JAX and PyTorch mostly lack are four wheels (photos: the first three; folds: all), for its Python:
#   pip download --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 \
#     --platform manylinux2014_x86_64 -d wheels grain array_record portpicker platformdirs
#   pip install --no-index --no-deps --target extra wheels/*.whl   # on the machine
#   benchmarks/gpu.sh OUT extra
# `python -m benchmarks.ready` says what a machine lacks; parts that cannot run are skipped.
set -uo pipefail
OUT=${1:?a folder for the results}
OUT=$(mkdir -p "$OUT" && cd "$OUT" && pwd)
EXTRA=${2:+$(cd "$2" && pwd)}
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
PARTS=${PARTS:-row8,folds,photos,steps,paper,bf16,scaling}
SIZE=${SIZE:-small}
BUDGET=$(awk -v m="${MINUTES:-8}" 'BEGIN { print int(60 * m) }')
export PYTHONPATH="$PWD${EXTRA:+:$EXTRA}${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# jax would otherwise take three quarters of the memory; every contender of a step is a process of its own on the one GPU.
export XLA_PYTHON_CLIENT_PREALLOCATE=false
SECONDS=0
NOTES=()

note() { # said at once, and again beside the report
  NOTES+=("$*")
  echo "== $*"
}
report() { # cheap, and all that is left if the files are lost
  rm -f "$OUT"/*.tmp # of a part that was cut off while it wrote
  timeout -k 5 30 "$PYTHON" -m benchmarks.report --out "$OUT" --no-figure > /dev/null || note "report: FAILED ($?)"
}
part() { # NAME SECONDS MODULE ARGUMENTS...: a failure, or a part that takes too long, must not take the others' results away
  local name=$1 most=$2 left=$((BUDGET - SECONDS - 10))
  [[ ",$PARTS," == *",$name,"* ]] || return 0
  [[ " $CAN " == *" $name "* ]] || { note "$name: skipped, this machine lacks what it needs"; return 0; }
  ((left >= 45)) || { note "$name: skipped, $left s are left"; return 0; }
  ((most < left)) || most=$left
  echo "== $name, at most $most s, after $SECONDS s: ${*:3}"
  # No further case starts in the last third, so that the running one can end.
  timeout -k 5 "$most" "$PYTHON" -m "${@:3}" --out "$OUT" $NO_TORCH \
    --minutes "$(awk -v s="$most" 'BEGIN { print s / 90 }')" || note "$name: FAILED or cut off ($?)"
  report
}

nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader || true
CAN=$("$PYTHON" -m benchmarks.ready $([ "$SIZE" = tiny ] && echo --any-device)) || exit 1
echo "can run: $CAN ($SECONDS s)"
NO_TORCH=$([[ "${TORCH:-1}" == 1 && " $CAN " == *" torch "* ]] || echo --no-torch)

if [ "$SIZE" = tiny ]; then
  STEP="--size tiny --rounds 1 --seconds 0.01 --encode= --patience 150" PAPER=$STEP
  ALL=eager MOST=eager FOLDS="--size tiny" PHOTOS="--sides 32 --photos 64 --steps 4"
  STEPS=row1,row2,mmae LARGE=mmae HALF=mmae
  SCALING="--size tiny --folds 2 --sides 16 --rounds 1"
else
  STEP="--size small --rounds 5 --seconds 0.3 --encode= --patience 150"
  PAPER="--size paper --rounds 3 --seconds 0.5 --encode= --patience 80"
  ALL=eager,compile,reduce-overhead MOST=eager,compile FOLDS="--size small"
  PHOTOS="--sides 224,512 --photos 256 --steps 80"
  STEPS=row1,row2,mmae,row3,row6 LARGE=mmae,row8,row3 HALF=row8,mmae
  SCALING="--size small --folds 1,5 --sides 64,256 --rounds 2"
fi
step=benchmarks.step_throughput
# The targets. A step's case takes one to three minutes, most of it the compilers'.
part row8 210 $step $STEP --modes $ALL --cases row8
part folds 120 benchmarks.crossval_throughput $FOLDS --rows 1
part photos 150 benchmarks.input_pipeline $PHOTOS --rounds 1
# The rest, while time is left; what a part's --minutes leave out is named in its JSON file.
part steps 120 $step $STEP --modes $MOST --cases $STEPS --name step_throughput_steps
part paper 120 $step $PAPER --modes $MOST --cases $LARGE --name step_throughput_paper
part bf16 100 $step $PAPER --modes $MOST --cases $HALF --dtypes bfloat16 --name step_throughput_bf16
part scaling 100 benchmarks.scaling $SCALING --parts folds,image
[ -f "$OUT/report.md" ] || report
echo "$((SECONDS / 60)) min $((SECONDS % 60)) s"
((${#NOTES[@]} == 0)) || printf -- '- %s\n' "${NOTES[@]}"
cat "$OUT/report.md"
