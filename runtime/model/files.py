"""Names of the files of a model folder that the runtime reads itself. Weights are mlx-lm's matter."""

TOKENIZER_FILE = "tokenizer.json"
TEMPLATE_FILE = "chat_template.jinja"
FACTS_FILE = "mlxbuild/facts.json"
DEFAULTS_FILE = "mlxbuild/defaults.json"
ACCURACY_FILE = "mlxbuild/accuracy.json"
"""Of weights that the source had quantized already: which tensors hold exactly what it means, and which do not."""
