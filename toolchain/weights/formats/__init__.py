"""Formats of weights that other tools have quantized or packed: their layouts and decoders.

A format has two halves:

- **The layout** is determined when a build is planned, from config.json and the tensor table alone; each family of
  formats has a file here. `layout.layout_of` returns the model's own tensor table (source tensors as they are, and
  `DecodedTensor`s) and, if the source's config.json does not describe that table, another configuration. It loads
  neither MLX nor weights.
- **The decoder** runs in the block's step; each family has a file in `decoders`. It is a function of one
  `DecodedTensor`, its parts and a range of rows that returns those rows. Memory is bounded by the slice.

To add a decoder: write `rows_of_<what>(tensor, parts, begin, end) -> Decoded` in a file of `decoders`, and name it in
`decoding.DECODERS`. Rows are those of the result seen as a matrix (all axes but the last become one); `parts.rows(name,
begin, end)` and `parts.columns(name, begin, end)` read only a range of a part. A quantized matrix becomes up to three
decoded tensors, `.weight` (U32), `.scales` and `.biases`, with an entry `quantization` in the configuration, exactly
as in a folder that MLX has quantized; all of them may have the same parts. A dense matrix is a single `.weight`; the
method `dequantized` computes it from such a triple. Each slice has an accuracy (`exact`, `near`, `rounded`); the worst
one of a tensor goes into its block's facts.

A decoder's output may only change together with its method's name (`gptq-scales` → `gptq-scales-2`), which is part of
the keys.
"""
