"""LoRA adapters as PEFT writes them: what their files say, which tensors of a base they change, and the merged rows."""
