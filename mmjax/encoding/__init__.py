"""How columns are read, and what a fold learns of them: the parts that modalities are made of."""
