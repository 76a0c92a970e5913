"""One file a row of the paper's tables; base.py holds what they share."""
