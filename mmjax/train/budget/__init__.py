"""How long a run will take, and what is cut so that it ends in time."""
