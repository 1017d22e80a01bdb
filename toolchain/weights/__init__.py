"""The weights of a model: safetensors, blocks, architectures, quantization and adapters."""
