"""One file a modality; importing this registers the built-in ones, in canonical order."""

from mmjax.modalities import tabular as tabular  # noqa: I001 - the order of registration
from mmjax.modalities import text as text
from mmjax.modalities import image as image
from mmjax.modalities import vectors as vectors
from mmjax.modalities import entity as entity
from mmjax.modalities import profile as profile
from mmjax.modalities import words as words
from mmjax.modalities import linear as linear
from mmjax.modalities import forest as forest
