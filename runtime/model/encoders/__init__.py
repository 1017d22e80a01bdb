"""Encoders, models with bidirectional attention for embedding, which mlx-lm does not have. The engine uses them."""

FILES = {"bert": "bert", "roberta": "bert", "xlm-roberta": "bert", "modernbert": "modernbert"}
"""Maps `model_type` in config.json to the module here that computes it."""
