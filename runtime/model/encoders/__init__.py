"""Models that read a text in both directions, to embed it. mlx-lm has none of them. How they are used: the engine."""

FILES = {"bert": "bert", "roberta": "bert", "xlm-roberta": "bert", "modernbert": "modernbert"}
"""`model_type` in config.json to the module here that computes it."""
