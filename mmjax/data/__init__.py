"""Files to batches: tables, folds, one fitted encoder a modality, photos, the loader, the synthetic task."""
