"""What would make a run shorter, for one that takes long on a CPU."""

from typing import Any

from mmjax import registry
from mmjax.config import Settings


def smaller(settings: Settings) -> dict[str, Any]:
    """Settings with which modalities take less time; {}: nothing can be smaller."""
    found: dict[str, Any] = {}
    for name in settings.model.modalities:
        if cls := registry.modalities().get(registry.kind_of(name) or name):
            found |= cls.cheaper(settings.data)
    return found


def advice(settings: Settings) -> str:
    """A sentence for a run that takes long on a CPU: settings that would make it shorter, the strongest first."""
    found = smaller(settings) | ({} if settings.cv.only else {"cv.only": 0})
    found["train.max_epochs"] = max(1, settings.train.max_epochs // 3)
    given = " ".join(f"--config.{name}={value}" for name, value in found.items())
    return f"That is long for a CPU; these values make it shorter, each of them: {given}, and --time-limit=30m chooses for you."
