#!/usr/bin/env bash
# All benchmarks on one GPU in under ten minutes, the paper's own size included: `benchmarks/gpu.sh OUT [EXTRA_PYTHONPATH]`.
# OUT gets small JSON files, report.md and speed.png. EXTRA_PYTHONPATH holds packages the machine lacks (grain, platformdirs, ...);
# steps need none of them, five folds and photos do. PYTHON names the interpreter, MINUTES the budget (default 9).
set -uo pipefail
OUT=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
MINUTES=${MINUTES:-9}
export PYTHONPATH="$PWD${2:+:$2}${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# jax would otherwise take three quarters of the memory before PyTorch starts.
export XLA_PYTHON_CLIENT_PREALLOCATE=false
START=$SECONDS
left() { # minutes left, at most $1
  awk -v used="$((SECONDS - START))" -v all="$MINUTES" -v most="$1" 'BEGIN { m = all - used / 60; print (m < most ? (m > 0.1 ? m : 0.1) : most) }'
}
run() { # a failure must not take the others' results away
  echo "== $* ($((SECONDS - START)) s)"
  timeout "$(awk -v m="$(left "$MINUTES")" 'BEGIN { print int(m * 60) + 20 }')" "$PYTHON" -m "$@" || echo "FAILED: $*"
}

nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader || true
"$PYTHON" -c "import jax; assert jax.default_backend() == 'gpu', 'jax sees no GPU'" || exit 1
MODES=eager,channels_last,compile,reduce-overhead
# The paper's size first: it is what a GPU is for.
run benchmarks.step_throughput --out "$OUT/paper" --size paper --cases mmae,row8,row3 --modes "$MODES" --rounds 3 --seconds 0.5 \
  --minutes "$(left 2.5)"
run benchmarks.step_throughput --out "$OUT/paper_bf16" --size paper --cases mmae,row8 --dtypes bfloat16 --modes eager,compile \
  --rounds 3 --seconds 0.5 --minutes "$(left 1)"
run benchmarks.step_throughput --out "$OUT" --size small --cases row8,row1,row2,mmae,row3,row6 --rounds 5 --seconds 0.3 \
  --modes eager,compile,reduce-overhead --minutes "$(left 2)"
run benchmarks.crossval_throughput --out "$OUT" --size small --rows 1,8 --minutes "$(left 1.5)"
run benchmarks.input_pipeline --out "$OUT" --sides 224,512 --photos 512 --rounds 1 --minutes "$(left 0.7)"
run benchmarks.scaling --out "$OUT" --parts folds,image --sides 64,128,256 --rounds 2 --minutes "$(left 0.7)"
for folder in "$OUT" "$OUT/paper" "$OUT/paper_bf16"; do
  [ -n "$(ls "$folder"/*.json 2>/dev/null)" ] && run benchmarks.report --out "$folder"
done
echo "$(((SECONDS - START) / 60)) min $(((SECONDS - START) % 60)) s"
