"""The paper's networks in PyTorch, layer for layer those of mmjax/models, written as a PyTorch user would write them.

They do a little less than ours, in PyTorch's favour: every row has every modality, so nothing is masked but padding tokens; the
one-hot vector of the table is made beforehand; no metrics are kept. `RMSprop` is `torch.optim.RMSprop` (alpha 0.9, eps 1e-7),
whose epsilon is outside the root: the same work as Keras' and ours. tests/test_benchmarks.py copies our parameters into these
modules and compares outputs and losses.
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name PyTorch users know

from mmjax.config import ModelSettings
from mmjax.modalities.base import InputSpec
from mmjax.models.textcnn import PADDING

Batch = dict[str, Tensor]


class TabularMLP(nn.Module):
    """Row #1: dense layers with ReLU and dropout after each."""

    def __init__(self, inputs: int, sizes: tuple[int, ...], dropout: float):
        super().__init__()
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in zip((inputs, *sizes[:-1]), sizes, strict=True))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """B x D -> B x m."""
        for layer in self.dense:
            x = self.dropout(F.relu(layer(x)))
        return x


class TextCNN(nn.Module):
    """Row #2: embedding, convolutions, ReLU, max over time, dropout, dense (Kim 2014)."""

    def __init__(self, model: ModelSettings, vocabulary: int):
        super().__init__()
        text = model.text
        self.embedding = nn.Embedding(vocabulary, text.embed_dim, padding_idx=PADDING)
        self.conv = nn.ModuleList(nn.Conv1d(text.embed_dim, text.maps, w) for w in text.widths)
        self.dropout = nn.Dropout(text.dropout)
        self.dense = nn.Linear(text.maps * len(text.widths), model.width)

    def forward(self, text: Tensor) -> Tensor:
        """B x T ids -> B x m."""
        x = self.embedding(text).transpose(1, 2)
        pooled = [F.relu(conv(x)).amax(dim=2) for conv in self.conv]
        return F.relu(self.dense(self.dropout(torch.cat(pooled, dim=1))))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1.001e-5, momentum=0.01)


class DenseLayer(nn.Module):
    """BN-ReLU-1x1 (4 growth), BN-ReLU-3x3 (growth); appends its maps."""

    def __init__(self, channels: int, growth: int):
        super().__init__()
        self.norm_1, self.norm_2 = _norm(channels), _norm(4 * growth)
        self.conv_1 = nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.conv_3 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """B x C x H x W -> B x (C + growth) x H x W."""
        y = self.conv_1(F.relu(self.norm_1(x)))
        return torch.cat([x, self.conv_3(F.relu(self.norm_2(y)))], dim=1)


class DenseNet(nn.Module):
    """Row #3: DenseNet-BC of two blocks (Huang et al. 2017)."""

    def __init__(self, model: ModelSettings):
        super().__init__()
        image = model.image
        self.stem_conv = nn.Conv2d(3, image.stem, 7, stride=2, padding=3, bias=False)
        self.stem_norm = _norm(image.stem)
        self.blocks, self.norms, self.transitions = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        channels = image.stem
        for block, layers in enumerate(image.layers):
            self.blocks.append(nn.Sequential(*(DenseLayer(channels + i * image.growth, image.growth) for i in range(layers))))
            channels += layers * image.growth
            self.norms.append(_norm(channels))
            if block + 1 < len(image.layers):
                kept = int(channels * image.compression)
                self.transitions.append(nn.Conv2d(channels, kept, 1, bias=False))
                channels = kept
        self.dense = nn.Linear(channels, model.width)

    def forward(self, image: Tensor) -> Tensor:
        """B x 3 x H x W bytes -> B x m."""
        x = F.relu(self.stem_norm(self.stem_conv(image.float() / 255)))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        for i, (block, norm) in enumerate(zip(self.blocks, self.norms, strict=True)):
            x = F.relu(norm(block(x)))
            if i < len(self.transitions):
                x = F.avg_pool2d(self.transitions[i](x), 2)
        return F.relu(self.dense(x.mean(dim=(2, 3))))


class Autoencoder(nn.Module):
    """Independent autoencoders (row #7) or the MMAE, whose decoders share the code (row #8)."""

    def __init__(self, model: ModelSettings, spec: InputSpec):
        super().__init__()
        auto, self.names = model.autoencoder, spec.modalities
        self.shared = auto.kind == "mmae"
        sizes = {name: modality.target(own, model).size for name, modality, own in spec.each()}
        code = auto.code * (len(self.names) if self.shared else 1)
        self.table = (
            nn.Embedding(spec.sizes["text"]["vocabulary"], model.text.embed_dim, padding_idx=PADDING)
            if "text" in self.names
            else None
        )
        if self.table is not None:
            self.table.requires_grad_(auto.train_table)

        def stack(*widths: int) -> nn.ModuleList:
            return nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))

        self.encoders = nn.ModuleDict({n: stack(sizes[n], auto.hidden, auto.code) for n in self.names})
        self.decoders = nn.ModuleDict({n: stack(code, auto.code, auto.hidden, sizes[n]) for n in self.names})

    def flatten(self, batch: Batch, name: str) -> Tensor:
        """x_i, B x D_i."""
        if name == "tabular":
            return batch["tabular"]
        if name == "text":
            assert self.table is not None
            return self.table(batch["text"]).flatten(1)
        return batch["image"].flatten(1).float() / 255

    def codes(self, inputs: dict[str, Tensor]) -> list[Tensor]:
        """h_i of every modality."""
        return [F.relu(self.encoders[n][1](F.relu(self.encoders[n][0](x)))) for n, x in inputs.items()]  # type: ignore[index]

    def encode(self, batch: Batch) -> Tensor:
        """h_mm, B x Mk."""
        return torch.cat(self.codes({n: self.flatten(batch, n) for n in self.names}), dim=1)

    def forward(self, batch: Batch) -> Tensor:
        """Sum of the modalities' mean squared errors; padding tokens do not count."""
        inputs = {n: self.flatten(batch, n) for n in self.names}
        codes = self.codes(inputs)
        h_mm, loss = torch.cat(codes, dim=1), torch.zeros((), device=batch["label"].device)
        for (name, x), own in zip(inputs.items(), codes, strict=True):
            first, second, last = self.decoders[name]  # type: ignore[misc]
            prediction = last(F.relu(second(F.relu(first(h_mm if self.shared else own))))).float()
            error = (prediction - x.detach().float()) ** 2
            if name == "text":
                weight = (batch["text"] != PADDING).float().repeat_interleave(x.shape[1] // batch["text"].shape[1], dim=1)
                loss = loss + (weight * error).sum() / weight.sum()
            else:
                loss = loss + error.mean()
        return loss


class Classifier(nn.Module):
    """Rows #1 to #8: towers, fusion, codes, one linear layer; returns the mean cross-entropy."""

    def __init__(self, model: ModelSettings, spec: InputSpec):
        super().__init__()
        self.names, self.attention = spec.modalities, model.fusion == "attention"
        make = {
            "tabular": lambda: TabularMLP(_width(spec), (*model.tabular.hidden, model.width), model.tabular.dropout),
            "text": lambda: TextCNN(model, spec.sizes["text"]["vocabulary"]),
            "image": lambda: DenseNet(model),
        }
        self.towers = nn.ModuleDict({n: make[n]() for n in self.names})
        if self.attention:
            self.mu = nn.Parameter(torch.randn(model.width) * model.width**-0.5)
        codes = len(self.names) * model.autoencoder.code if model.autoencoder.kind != "none" else 0
        self.classify = nn.Linear(len(self.names) * model.width + codes, len(spec.classes))

    def logits(self, batch: Batch) -> Tensor:
        """B x K class scores."""
        v = torch.stack([self.towers[n](batch[n]) for n in self.names], dim=1)
        if self.attention:
            v = v * torch.softmax(torch.tanh(v @ self.mu), dim=1)[..., None]
        parts = [v.flatten(1)] + ([batch["codes"]] if "codes" in batch else [])
        return self.classify(torch.cat(parts, dim=1)).float()

    def forward(self, batch: Batch) -> Tensor:
        """Mean cross-entropy in nats."""
        return F.cross_entropy(self.logits(batch), batch["label"])


def _width(spec: InputSpec) -> int:
    return spec.sizes["tabular"]["onehot"] + spec.sizes["tabular"]["numbers"]


def rmsprop(module: nn.Module, learning_rate: float = 0.001) -> torch.optim.Optimizer:
    """RMSprop over what trains, with PyTorch's own choice of implementation (`foreach` on a GPU)."""
    trained = [p for p in module.parameters() if p.requires_grad]
    return torch.optim.RMSprop(trained, lr=learning_rate, alpha=0.9, eps=1e-7)
