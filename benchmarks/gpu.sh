#!/usr/bin/env bash
# All benchmarks on one GPU in under ten minutes, the paper's own size included: `benchmarks/gpu.sh OUT [EXTRA_PYTHONPATH]`.
# OUT gets small JSON files, report.md and speed.png. EXTRA_PYTHONPATH holds packages the machine lacks (grain, platformdirs, ...);
# steps need none of them, five folds and photos all. PYTHON names the interpreter, MINUTES the budget (default 9), PARTS
# what to run (default steps,paper,folds,bf16,photos,scaling: in this order, the later ones if time is left).
set -uo pipefail
OUT=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
MINUTES=${MINUTES:-9}
PARTS=${PARTS:-steps,paper,folds,bf16,photos,scaling}
export PYTHONPATH="$PWD${2:+:$2}${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# jax would otherwise take three quarters of the memory; every contender of a step is a process of its own on the one GPU.
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
"$PYTHON" - <<'EOF'
import importlib.util as found
for need, names in {"steps": "flax optax jaxtyping", "scaling": "flax optax jaxtyping", "report": "matplotlib",
                    "photos": "grain PIL torch",
                    "folds": "grain PIL torch orbax pandas sklearn rich platformdirs"}.items():
    missing = [name for name in names.split() if found.find_spec(name) is None]
    print(f"{need}: " + (f"WILL FAIL without {', '.join(missing)}" if missing else "ok"))
EOF
wanted() { [[ ",$PARTS," == *",$1,"* ]]; }
# A case takes one to three minutes, most of it the compilers'; what a part's --minutes leave out is named in its JSON file.
wanted steps && run benchmarks.step_throughput --out "$OUT" --size small --cases row8,row1,row2,mmae,row3,row6 --rounds 5 \
  --seconds 0.3 --modes eager,compile,reduce-overhead --minutes "$(left 2)"
wanted paper && run benchmarks.step_throughput --out "$OUT/paper" --size paper --cases mmae,row8,row3 --rounds 3 --seconds 0.5 \
  --modes eager,compile --encode "" --minutes "$(left 1.2)"
wanted folds && run benchmarks.crossval_throughput --out "$OUT" --size small --rows 1,8 --minutes "$(left 0.5)"
wanted bf16 && run benchmarks.step_throughput --out "$OUT/paper_bf16" --size paper --cases row8,mmae --dtypes bfloat16 --rounds 3 \
  --seconds 0.5 --modes eager,compile --encode "" --minutes "$(left 0.7)"
wanted photos && run benchmarks.input_pipeline --out "$OUT" --sides 224,512 --photos 512 --rounds 1 --minutes "$(left 0.5)"
wanted scaling && run benchmarks.scaling --out "$OUT" --parts folds,image --sides 64,128,256 --rounds 2 --minutes "$(left 0.7)"
for folder in "$OUT" "$OUT/paper" "$OUT/paper_bf16"; do
  [ -n "$(ls "$folder"/*.json 2>/dev/null)" ] && run benchmarks.report --out "$folder"
done
echo "$(((SECONDS - START) / 60)) min $(((SECONDS - START) % 60)) s"
