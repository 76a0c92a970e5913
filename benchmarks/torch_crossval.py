"""Five-fold cross-validation as a straightforward PyTorch program: pandas, a Dataset, a DataLoader, one fold after the other.

Run by crossval_throughput.py in a process of its own. It does what one `mmjax train` does: reads the table, fits encoders on
each fold's training rows, trains for a fixed number of epochs, validates after each, and predicts the held-out fold. Photos are
decoded by PIL when they are asked for. With a frozen autoencoder (row #8) the classifier's loop runs the encoder at every step.
"""

import re
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.sizes import ROWS, Case, Size, make_settings, make_spec
from benchmarks.synth import LEVELS, NUMBERS, PHOTOS, TABLE
from benchmarks.theirs import make_step, set_up
from benchmarks.torch_models import Autoencoder, Classifier, rmsprop
from mmjax.datasets.splits import inner_split, make_folds
from mmjax.modalities.base import InputSpec
from mmjax.train.execution.concurrent_folds import cores

EVALUATED = 256
"""Rows of a batch that is not trained on; ours leaves it to its own rule."""
_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")


class Rows(Dataset):
    """Encoded rows; a photo is read when its row is."""

    def __init__(self, arrays: dict[str, Any], photos: list[Path] | None, size: int):
        self.arrays, self.photos, self.size = arrays, photos, size

    def __len__(self) -> int:
        return len(self.arrays["label"])

    def __getitem__(self, row: int) -> dict[str, Any]:
        item = {name: values[row] for name, values in self.arrays.items()}
        if self.photos is not None:
            item["image"] = read_photo(self.photos[row], self.size)
        return item


def read_photo(path: Path, size: int) -> torch.Tensor:
    """3 x H x W bytes."""
    with Image.open(path) as photo:
        pixels = np.asarray(photo.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def encode(table: pd.DataFrame, fitted: np.ndarray, row: int, size: Size) -> tuple[dict[str, Any], dict[str, int]]:
    """Tensors of all rows, by encoders fitted on some, and the sizes found."""
    arrays: dict[str, Any] = {"label": torch.from_numpy(table["label"].to_numpy(np.int64))}
    found: dict[str, int] = {}
    if "tabular" in ROWS[row]["modalities"]:
        numbers = table[[f"n{i}" for i in range(NUMBERS)]].to_numpy(np.float32)
        low, high = numbers[fitted].min(0), numbers[fitted].max(0)
        blocks = [np.clip((numbers - low) / np.maximum(high - low, 1e-12), 0, 1)]
        for i in range(len(LEVELS)):
            column = table[f"c{i}"].to_numpy()
            blocks.append((column[:, None] == np.unique(column[fitted])).astype(np.float32))
        arrays["tabular"] = torch.from_numpy(np.concatenate(blocks, axis=1).astype(np.float32))
        found["tabular"] = arrays["tabular"].shape[1]
    if "text" in ROWS[row]["modalities"]:
        texts = [_WORD.findall(t.lower())[: size.tokens] for t in table["text"].fillna("").astype(str)]
        counts = Counter(w for i in fitted for w in texts[i])
        words = {w: n + 2 for n, (w, c) in enumerate(counts.most_common()) if c >= 2}
        ids = np.zeros((len(texts), size.tokens), np.int64)
        for i, text in enumerate(texts):
            ids[i, : len(text)] = [words.get(w, 1) for w in text]
        arrays["text"] = torch.from_numpy(ids)
        found["vocabulary"] = len(words) + 2
    return arrays, found


def loader(rows: Rows, chosen: np.ndarray, batch: int, workers: int, *, train: bool) -> DataLoader:
    """The usual DataLoader; workers live as long as it does."""
    subset = torch.utils.data.Subset(rows, chosen.tolist())
    pinned = torch.cuda.is_available()
    return DataLoader(
        subset, batch, shuffle=train, drop_last=train, num_workers=workers, persistent_workers=workers > 0, pin_memory=pinned
    )


def best_workers(rows: Rows, chosen: np.ndarray, batch: int) -> tuple[int, dict[int, float]]:
    """The worker count, at most a core each, whose second epoch over the rows is fastest, and the seconds of each."""
    seconds = {}
    for workers in (w for w in (0, 1, 2, 4, 8, 16) if w <= cores()):
        batches = loader(rows, chosen, batch, workers, train=True)
        for _ in batches:
            pass
        start = time.perf_counter()
        for _ in batches:
            pass
        seconds[workers] = time.perf_counter() - start
    return min(seconds, key=lambda w: seconds[w]), seconds


class Program:
    """What runs over the folds."""

    def __init__(self, folder: Path, row: int, size: Size, epochs: int, coder_epochs: int, folds: int):
        self.row, self.size, self.epochs, self.coder_epochs, self.folds = row, size, epochs, coder_epochs, folds
        self.device = set_up()
        self.folder = folder
        self.workers = 0

    def data(self, table: pd.DataFrame, fitted: np.ndarray) -> tuple[Rows, InputSpec]:
        """Encoded rows and sizes of a fold."""
        arrays, found = encode(table, fitted, self.row, self.size)
        photos = None
        if "image" in ROWS[self.row]["modalities"]:
            photos = [self.folder / PHOTOS / name for name in table["photo"]]
        spec = make_spec(self.row, self.size)
        sizes = {
            "tabular": {"onehot": found.get("tabular", 0), "groups": 0, "numbers": 0},
            "text": {"tokens": self.size.tokens, "vocabulary": found.get("vocabulary", 0)},
            "image": {"side": self.size.image},
        }
        spec = replace(spec, classes=tuple("01234"), sizes={n: sizes[n] for n in spec.modalities})
        return Rows(arrays, photos, self.size.image), spec

    def read(self) -> tuple[pd.DataFrame, np.ndarray]:
        """The table and the fold of each row."""
        table = pd.read_csv(self.folder / TABLE)
        return table, make_folds(table["label"].to_numpy(np.int32), folds=self.folds, seed=0)

    def choose_workers(self) -> dict[int, float]:
        """Sets the best worker count, measured on 20 batches; not part of the time."""
        table, fold_N = self.read()
        rows, _ = self.data(table, np.flatnonzero(fold_N != 0))
        some = np.arange(min(len(rows), 20 * self.size.batch))
        self.workers, seconds = best_workers(rows, some, self.size.batch)
        return seconds

    def run(self) -> dict[str, Any]:
        """All folds; seconds and the mean accuracy."""
        start, accuracy = time.perf_counter(), []
        table, fold_N = self.read()
        label = table["label"].to_numpy(np.int32)
        for fold in range(self.folds):
            outside, test = np.flatnonzero(fold_N != fold), np.flatnonzero(fold_N == fold)
            train, valid = inner_split(outside, label, fraction=0.1, seed=fold)
            rows, spec = self.data(table, outside)
            accuracy.append(self.fold(rows, spec, train, valid, test))
        return {"seconds": time.perf_counter() - start, "accuracy": float(np.mean(accuracy)), "workers": self.workers}

    def fold(self, rows: Rows, spec: InputSpec, train: np.ndarray, valid: np.ndarray, test: np.ndarray) -> float:
        """One fold; its held-out accuracy."""
        torch.manual_seed(0)
        settings = make_settings(self.row, self.size)
        batches = loader(rows, train, self.size.batch, self.workers, train=True)
        held = [loader(rows, part, EVALUATED, self.workers, train=False) for part in (valid, test)]
        coder = None
        if Case("", self.row).codes:
            coder = Autoencoder(settings.model, spec).to(self.device)
            self.train(coder, batches, self.coder_epochs, lambda: self.mean_loss(coder, held[0]))
        model = Classifier(settings.model, spec).to(self.device)
        encoder = coder.encode if coder is not None else None
        self.train(model, batches, self.epochs, lambda: self.accuracy(model, held[0], encoder), encoder)
        return self.accuracy(model, held[1], encoder)

    def train(self, module: Any, batches: DataLoader, epochs: int, validate: Any, encoder: Any = None) -> None:
        """The loop."""
        step = make_step(module, rmsprop(module), self.device, "float32", encoder)
        for _ in range(epochs):
            module.train()
            for batch in batches:
                step(self.move(batch))
            module.eval()
            validate()

    def move(self, batch: dict[str, Any]) -> dict[str, Any]:
        """To the device."""
        return {k: v.to(self.device, non_blocking=True) for k, v in batch.items()}

    @torch.no_grad()
    def mean_loss(self, module: Any, batches: DataLoader) -> float:
        """Reconstruction error of held-out rows."""
        return float(np.mean([float(module(self.move(batch))) for batch in batches]))

    @torch.no_grad()
    def accuracy(self, model: Any, batches: DataLoader, encoder: Any) -> float:
        """Accuracy on held-out rows."""
        model.eval()
        hits = total = 0
        for batch in map(self.move, batches):
            whole = batch | {"codes": encoder(batch)} if encoder is not None else batch
            hits += int((model.logits(whole).argmax(1) == batch["label"]).sum())
            total += len(batch["label"])
        return hits / total
