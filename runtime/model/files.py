"""Names of the files in a model folder that the runtime reads itself. Weights are read by mlx-lm."""

TOKENIZER_FILE = "tokenizer.json"
TEMPLATE_FILE = "chat_template.jinja"
FACTS_FILE = "mlxbuild/facts.json"
DEFAULTS_FILE = "mlxbuild/defaults.json"
ACCURACY_FILE = "mlxbuild/accuracy.json"
"""For weights that were quantized in the source: which tensors represent them exactly, and which do not."""
