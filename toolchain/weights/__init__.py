"""Tensors on disk and in memory: safetensors, blocks, architectures, quantization."""
