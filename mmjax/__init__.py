"""mmjax: multi-modal autoencoder and attention-fused classification of rows that carry a table, a text and an image.

The Python API (docs/api.md). `import mmjax` imports neither jax nor pandas: a name's module is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmjax.configs import get_config
    from mmjax.estimator import MultiModalClassifier, load
    from mmjax.own_table import cross_validate, propose_schema

__version__ = "0.1.0"
__all__ = ["MultiModalClassifier", "cross_validate", "get_config", "load", "propose_schema"]

_WHERE = {
    "MultiModalClassifier": "mmjax.estimator",
    "cross_validate": "mmjax.own_table",
    "get_config": "mmjax.configs",
    "load": "mmjax.estimator",
    "propose_schema": "mmjax.own_table",
    # register_modality and register_task: mmjax.registry, once it is there
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'mmjax' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
