"""Weights that another tool has quantized or packed: what their tensors become, and how those are decoded.

A format has two halves:

- **The layout**, decided when a build is planned, from config.json and the tensor table alone, one file here a family
  of formats: `layout.layout_of` gives the model's own tensor table (source tensors as they are, and `DecodedTensor`s)
  and, where the source's config.json does not describe that table, another configuration. Neither MLX nor a weight is
  loaded for it.
- **The decoder**, run in the block's step, one file in `decoders` a family: a function of one `DecodedTensor`, its
  parts and a range of rows, which gives those rows. Memory is bounded by the slice.

To add a decoder: write `rows_of_<what>(tensor, parts, begin, end) -> Decoded` in a file of `decoders`, and name it in
`decoding.DECODERS`. Rows are those of the result seen as a matrix (all axes but the last are one); `parts.rows(name,
begin, end)` and `parts.columns(name, begin, end)` read just a piece of a part. A quantized matrix becomes up to three
decoded tensors, `.weight` (U32), `.scales` and `.biases`, with an entry `quantization` in the configuration, exactly
as in a folder that MLX has quantized; all of them may have the same parts. A dense one is a single `.weight`; of any
triple the method `dequantized` makes it. Each slice says how close it is (`exact`, `near`, `rounded`); the worst of a
tensor goes into its block's facts.

What a decoder gives may only change together with its method's name (`gptq-scales` → `gptq-scales-2`), which is in the
keys.
"""
