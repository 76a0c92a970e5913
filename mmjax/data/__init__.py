"""Files to cells, pixels and batches of row numbers; nothing here knows a modality."""
