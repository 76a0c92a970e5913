"""The rows of the paper's tables: which they are, ours beside them, and whether differences are more than chance."""
