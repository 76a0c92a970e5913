"""A table with its modalities and its target: opened, split into folds, encoded, told apart from a changed one."""
