"""What would make a run shorter, for one that takes long on a CPU."""

from mmjax import registry
from mmjax.config import Settings


def shorter(settings: Settings) -> dict[str, str]:
    """Settings that would make a run shorter, with the value to give them, the strongest first."""
    found: dict[str, str] = {}
    for name in settings.model.modalities:
        if cls := registry.modalities().get(registry.kind_of(name) or name):
            found |= cls.cheaper(settings.data)
    if not settings.cv.only:
        found["cv.only"] = "0"
    return found | {"train.max_epochs": str(max(1, settings.train.max_epochs // 3))}


def advice(settings: Settings) -> str:
    """A sentence for a run that takes long on a CPU."""
    given = " ".join(f"--config.{name}={value}" for name, value in shorter(settings).items())
    return f"That is long for a CPU; these values make it shorter, each of them: {given}"
