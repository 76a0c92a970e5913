"""A config's modalities on a table that lacks some of them."""

from collections.abc import Callable
from dataclasses import replace

from mmjax.config import Settings
from mmjax.errors import ConfigError
from mmjax.modalities.base import all_modalities
from mmjax.schema import Schema


def leave_out_lacking(settings: Settings, schema: Schema, log: Callable[[str], None]) -> Settings:
    """The settings without the modalities that the schema names no column for; says which.

    Raises:
      ConfigError: none is left.
    """
    there = {name for m in all_modalities(schema, settings.data) for name in (m.kind, m.name)}
    wanted = settings.model.modalities
    kept = tuple(m for m in wanted if m in there)
    if not kept:
        raise ConfigError(f"the model reads {', '.join(wanted)}, and the schema names no column for it; check the schema.")
    if kept != wanted:
        log(f"The table has no {' and no '.join(m for m in wanted if m not in kept)}: the model reads {', '.join(kept)}.")
    return replace(settings, model=replace(settings.model, modalities=kept))
