#!/usr/bin/env bash
# Every number of docs/RESULTS.md on real data: `benchmarks/real_data.sh DATA WORK [petfinder|fashion|table2 ...]`.
# DATA holds petfinder/ and fashion/; WORK keeps the workdirs. A part that was cut off goes on where it stood.
set -euo pipefail
cd "$(dirname "$0")/.."
DATA=$1 WORK=$2
shift 2
PYTHON=${PYTHON:-.venv/bin/python}
mmjax() { "$PYTHON" -m mmjax.cli.main "$@"; }

petfinder() {
  for folds in "" "+grouped"; do
    mmjax reproduce table1 --dataset="petfinder_features$folds" --root="$DATA/petfinder" \
      --workdir="$WORK/petfinder_features$folds"
    mmjax train --config="configs/attention.py:petfinder_features$folds" --config.model.modalities="('tabular','text')" \
      --config.data.root="$DATA/petfinder" --workdir="$WORK/petfinder_features$folds/tabular_text"
  done
  # Row 1 as early stopping leaves it, without the last training on all training rows.
  mmjax train --config=configs/tabular.py:petfinder_features --config.train.refit=False \
    --config.data.root="$DATA/petfinder" --workdir="$WORK/petfinder_features/tabular_no_refit"
  for seed in 1 2; do # how much of row 1 is the draw of its weights
    mmjax train --config=configs/tabular.py:petfinder_features --config.train.seed="$seed" \
      --config.data.root="$DATA/petfinder" --workdir="$WORK/petfinder_features/row1_seed$seed"
  done
}

fashion() {
  mmjax reproduce table1 --dataset=fashion --root="$DATA/fashion" --workdir="$WORK/fashion"
}

table2() { # the 1,861 photos of the unlabelled table, at 64 x 64, with words of 50 numbers, at most 8 epochs
  mmjax reproduce table2 --dataset=petfinder --root="$DATA/petfinder" --workdir="$WORK/table2" \
    --config.data.table=test.csv --config.data.image_size=64 --config.model.text.embed_dim=50 \
    --config.train.autoencoder_max_epochs=8
}

for part in "${@:-petfinder fashion table2}"; do
  for name in $part; do "$name"; done
done
