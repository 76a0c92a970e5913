"""Why a trained ensemble predicts what it predicts: what it would say if a modality, a cell, a word or a patch were not there.

docs/EXPLANATIONS.md says what each number means, and what it was measured to find.
"""

from mmjax.explain.explanation import Explanation, explain
from mmjax.explain.permutation import Importance, permutation_importance

__all__ = ["Explanation", "Importance", "explain", "permutation_importance"]
