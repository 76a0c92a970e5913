"""mmjax: multi-modal autoencoder and attention-fused classification of rows that carry a table, a text and an image.

The Python API (docs/api.md). `import mmjax` imports neither jax nor pandas: a name's module is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmjax.configs import get_config
    from mmjax.estimator import MultiModalClassifier, load
    from mmjax.own_table import cross_validate, propose_schema
    from mmjax.registry import register_modality, register_task
    from mmjax.report.comparison import compare

__version__ = "0.2.0"
__all__ = [
    "MultiModalClassifier",
    "compare",
    "cross_validate",
    "get_config",
    "load",
    "propose_schema",
    "register_modality",
    "register_task",
]

_WHERE = {
    "MultiModalClassifier": "mmjax.estimator",
    "compare": "mmjax.report.comparison",
    "cross_validate": "mmjax.own_table",
    "get_config": "mmjax.configs",
    "load": "mmjax.estimator",
    "propose_schema": "mmjax.own_table",
    "register_modality": "mmjax.registry",
    "register_task": "mmjax.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'mmjax' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
