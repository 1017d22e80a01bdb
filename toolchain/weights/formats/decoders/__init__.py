"""The decoders of packed weights, which `toolchain.weights.formats.decoding` registers by name."""
