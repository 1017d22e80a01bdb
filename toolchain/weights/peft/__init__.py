"""LoRA adapters in PEFT's form: reading their files, mapping them to a base's tensors, and merging them."""
