"""PyTorch's side of a comparison: a straightforward training step, batches ready on the device."""

from typing import Any

import numpy as np
import torch

from benchmarks.contenders import Contender, Run
from benchmarks.sizes import Case, Size, make_settings, make_spec, random_rows
from benchmarks.torch_models import Autoencoder, Batch, Classifier, rmsprop
from mmjax.modalities.base import InputSpec
from mmjax.train.execution.concurrent_folds import cores

MODES = ("eager", "eager_kept", "one_thread", "channels_last", "compile", "reduce-overhead")
"""eager; eager in a process whose malloc keeps memory, which step_throughput.py sees to; eager on one thread; eager with images
in NHWC; torch.compile as it comes; torch.compile(mode="reduce-overhead")."""


def set_up() -> torch.device:
    """All cores and the started device, before a timer runs; on a GPU the same TF32 products that jax uses for float32."""
    torch.set_num_threads(cores())
    torch.set_float32_matmul_precision("high")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.zeros(1, device=device).cpu()
    return device


def tabular_matrix(arrays: dict[str, np.ndarray], spec: InputSpec) -> np.ndarray:
    """Numbers, then one-hot columns: N x D."""
    rows = len(arrays["label"])
    numbers, onehot = spec.sizes["tabular"]["numbers"], spec.sizes["tabular"]["onehot"]
    out = np.zeros((rows, numbers + onehot), np.float32)
    out[:, :numbers] = arrays["tabular/number"]
    out[np.arange(rows)[:, None], numbers + arrays["tabular/id"]] = 1.0
    return out


def to_batch(arrays: dict[str, np.ndarray], spec: InputSpec, device: Any = "cpu", *, channels_last: bool = False) -> Batch:
    """Rows of mmjax/modalities/base.py as the tensors the PyTorch modules take."""
    batch = {"label": torch.from_numpy(arrays["label"].astype(np.int64))}
    if "tabular/id" in arrays:
        batch["tabular"] = torch.from_numpy(tabular_matrix(arrays, spec))
    if "text/word" in arrays:
        batch["text"] = torch.from_numpy(arrays["text/word"].astype(np.int64))
    if "codes" in arrays:
        batch["codes"] = torch.from_numpy(arrays["codes"])
    if "image/pixel" in arrays:
        image = torch.from_numpy(np.ascontiguousarray(arrays["image/pixel"].transpose(0, 3, 1, 2)))
        batch["image"] = image.contiguous(memory_format=torch.channels_last) if channels_last else image
    return {k: v.to(device) for k, v in batch.items()}


def contender(
    case: Case, size: Size, mode: str, *, dtype: str = "float32", encode: bool = False, optional: bool = True
) -> Contender:
    """A training step in one of `MODES`; `encode` runs the frozen autoencoder at every step."""

    def make() -> tuple[Run, float | None]:
        return _prepare(case, size, mode, dtype, encode), None

    name = f"torch_{mode}{'_encode' if encode else ''}"
    return Contender(name, make, optional=optional)


def build(case: Case, size: Size) -> torch.nn.Module:
    """The module of a case."""
    settings, spec = make_settings(case.row, size), make_spec(case.row, size)
    return (Autoencoder if case.task == "autoencoder" else Classifier)(settings.model, spec)


def _prepare(case: Case, size: Size, mode: str, dtype: str, encode: bool) -> Run:
    device, spec = set_up(), make_spec(case.row, size)
    torch.manual_seed(0)
    last = mode == "channels_last"
    with device:  # the paper's autoencoder has 0.8 G parameters: drawn where they are used
        module = build(case, size)
        coder = build(Case("coder", case.row, "autoencoder"), size) if encode else None
    if last:
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    width = len(spec.modalities) * size.code if case.codes and not encode else 0
    arrays = random_rows(spec, min(size.rows, 16 * size.batch), code_width=width)
    whole = to_batch(arrays, spec, device, channels_last=last)
    batches = [
        {k: v[at : at + size.batch].clone() for k, v in whole.items()} for at in range(0, len(arrays["label"]), size.batch)
    ]
    optimizer = rmsprop(module)
    compiled: dict[str, dict[str, Any]] = {"compile": {}, "reduce-overhead": {"mode": "reduce-overhead"}}
    loss_of: Any = module
    encoder: Any = coder.encode if coder is not None else None
    if mode in compiled:
        loss_of = torch.compile(module, **compiled[mode])
        encoder = torch.compile(encoder, **compiled[mode]) if encoder is not None else None
    step = make_step(loss_of, optimizer, device, dtype, encoder)

    def run(repeats: int) -> int:
        torch.set_num_threads(1 if mode == "one_thread" else cores())
        for i in range(repeats):
            step(batches[i % len(batches)])
        if device.type == "cuda":
            torch.cuda.synchronize()
        return repeats

    if mode in compiled:
        # Graphs are recorded over several calls: the first run then holds all of the compilation.
        return _warmed(run)
    return run


def make_step(loss_of: Any, optimizer: torch.optim.Optimizer, device: torch.device, dtype: str, encoder: Any = None) -> Any:
    """One training step of a straightforward loop."""
    half = torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16")

    def step(batch: Batch) -> None:
        optimizer.zero_grad(set_to_none=True)
        with half:
            if encoder is not None:
                with torch.no_grad():
                    batch = batch | {"codes": encoder(batch).float().clone()}
            loss = loss_of(batch)
        loss.backward()
        optimizer.step()

    return step


def _warmed(run: Run) -> Run:
    started: list[bool] = []

    def warmed(repeats: int) -> int:
        if not started:
            started.append(True)
            run(3)
        return run(repeats)

    return warmed
