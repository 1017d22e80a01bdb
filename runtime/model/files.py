"""Names of the files of a model folder that the runtime reads itself. Weights are mlx-lm's matter."""

TOKENIZER_FILE = "tokenizer.json"
TEMPLATE_FILE = "chat_template.jinja"
FACTS_FILE = "mlxbuild/facts.json"
DEFAULTS_FILE = "mlxbuild/defaults.json"
