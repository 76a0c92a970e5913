"""Explanations against the law of the synthetic data, which is known: do they rank modalities and columns as it does?

python -m benchmarks.explanations --work DIR [--config attention] [--dropout 0,0.2,0.5] [--rows 300]

The law says of every row the probability of each class given any subset of its parts, so its Shapley values and its permutation
importance are exact. Shapley values are of rows that no fold has seen, by the mean of all folds, for the class that the law
predicts; importance is measured by each fold on its held-out rows.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from benchmarks.machine import say
from mmjax import configs
from mmjax.data.data_report import DataReport
from mmjax.datasets import synthetic
from mmjax.datasets.splits import FOLDS, load_folds
from mmjax.explain import permutation_importance
from mmjax.explain.answers import FoldAnswers
from mmjax.explain.explanation import shapley_values
from mmjax.explain.shapley import coalitions
from mmjax.inference import Ensemble
from mmjax.io.environment import environment
from mmjax.new_table import open_new_table, open_training_table
from mmjax.own_table import cross_validate

KINDS = {"table": "tabular", "note": "text", "photo": "image"}
"""Modality of each part of the law."""


def law_shapley(latent_NxM: np.ndarray, class_N: np.ndarray) -> np.ndarray:
    """Shapley values of each part for a class's true probability."""
    keep_SxM, weight_MxS = coalitions(latent_NxM.shape[1])
    rows = np.arange(len(class_N))
    value_SxN = [synthetic.posterior(np.where(keep_M, latent_NxM, -1))[rows, class_N] for keep_M in keep_SxM]
    return (weight_MxS @ np.array(value_SxN)).T


def law_importance(latents: synthetic.Latents, repeats: int = 20) -> dict[str, float]:
    """By how much the log loss of the law's own probabilities rises when a column or part is shuffled between rows.

    The table's pair is 2 x (family of the material) + (heavy), so each of its two columns carries a part of it.
    """
    draw, table_N, found = np.random.default_rng(0), latents.latent[:, 0], {}

    def loss(latent_NxM: np.ndarray) -> float:
        p_N = synthetic.posterior(latent_NxM)[np.arange(len(latents.label)), latents.label]
        return float(-np.log(p_N).mean())

    def shuffled(name: str) -> np.ndarray:
        changed, order = latents.latent.copy(), draw.permutation(len(table_N))
        if name == "material":
            changed[:, 0] = 2 * (table_N[order] // 2) + table_N % 2
        elif name == "mass":
            changed[:, 0] = 2 * (table_N // 2) + table_N[order] % 2
        else:
            changed[:, synthetic.PARTS.index(name)] = changed[order, synthetic.PARTS.index(name)]
        return changed

    for name in ("material", "mass", *synthetic.PARTS):
        found[name] = float(np.mean([loss(shuffled(name)) for _ in range(repeats)])) - loss(latents.latent)
    return found


def compare(workdir: Path, rows: int) -> None:
    """Prints both comparisons for one run."""
    ensemble = Ensemble.load(workdir)
    dataset = open_training_table(ensemble)
    fold_N = load_folds(workdir / FOLDS, dataset.table.ids)
    data = ensemble.settings.data
    parts = [part for part, kind in KINDS.items() if kind in ensemble.spec.modalities]
    at = [ensemble.spec.modalities.index(KINDS[part]) for part in parts]
    seed, size = data.synthetic_seed + 1, data.image_size
    folder = workdir.parent / synthetic.folder_name(rows=rows, seed=seed, image_size=size)
    synthetic.write_synthetic(folder, rows=rows, seed=seed, image_size=size)
    paths = {"images": str(folder / synthetic.PHOTOS)}
    new = open_new_table(ensemble, folder / synthetic.TABLE, DataReport(), paths=paths)
    latent_NxM = synthetic.draw_latents(rows, seed).latent
    class_N = synthetic.posterior(latent_NxM).argmax(axis=1)
    own_N = np.array([ensemble.spec.classes.index(synthetic.CLASSES[k]) for k in class_N])
    answers = [FoldAnswers(ensemble, member, member.encoders.encode(new)) for member in ensemble.members]
    our_NxM = shapley_values(answers, own_N).value_NxM[:, at]
    law_NxM, present_NxM = law_shapley(latent_NxM, class_N), latent_NxM >= 0
    whole = present_NxM.all(axis=1)
    clear = whole & (np.diff(np.sort(law_NxM, axis=1)[:, -2:], axis=1)[:, 0] > 0.05)
    first = np.mean(our_NxM[clear].argmax(axis=1) == law_NxM[clear].argmax(axis=1))
    sign = np.mean((our_NxM > 0)[np.abs(law_NxM) > 0.05] == (law_NxM > 0)[np.abs(law_NxM) > 0.05])
    correlation = np.corrcoef(our_NxM[present_NxM], law_NxM[present_NxM])[0, 1]
    say(f"  Shapley values of {len(our_NxM)} new rows: correlation with the law's {correlation:.3f}")
    say(f"  sign right in {100 * sign:.1f} % of those where the law's is above 0.05")
    say(f"  first modality right in {100 * first:.1f} % of the {clear.sum()} rows where the law's leads by 0.05")
    found = {(i.kind, i.name): i for i in permutation_importance(ensemble, dataset, fold_N, rows_per_fold=rows)}
    law = law_importance(synthetic.draw_latents(data.synthetic_rows, data.synthetic_seed))
    names = {("modality", KINDS[part]): law[part] for part in parts}
    names |= {("column", c): law.get(c, 0.0) for kind, c in found if kind == "column"}
    say(f"  {'shuffled':<20} {'rise of log loss':>18} {'of the law':>12}")
    for key, value in names.items():
        say(f"  {' '.join(key):<20} {found[key].rise_loss:>10.3f} ± {found[key].rise_loss_std:.3f} {value:>12.3f}")
    ranks = spearmanr([found[key].rise_loss for key in names], list(names.values())).statistic
    say(f"  rank correlation {ranks:.3f}")


def main() -> None:
    """Trains a run a rate of modality dropout, unless DIR holds it, and compares each with the law."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, help="folder of the runs")
    parser.add_argument("--config", default="attention")
    parser.add_argument("--dropout", default="0,0.2,0.5")
    parser.add_argument("--rows", type=int, default=300, help="held-out rows a fold")
    args = parser.parse_args()
    say(json.dumps(environment()))
    for rate in map(float, args.dropout.split(",")):
        workdir = Path(args.work) / f"{args.config}_{rate}"
        settings = configs.get_config(args.config, {"model.modality_dropout": rate})
        summary = cross_validate(settings, workdir=workdir, verbose=False)
        say(f"{args.config}, modality_dropout={rate}: accuracy {100 * summary['mean']['accuracy']:.2f} %")
        compare(workdir, args.rows)


if __name__ == "__main__":
    main()
