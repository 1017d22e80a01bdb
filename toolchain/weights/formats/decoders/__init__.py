"""Numbers out of what other tools have packed; `toolchain.weights.formats.decoding` names each function here."""
