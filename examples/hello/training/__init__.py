"""Everything that makes the hello model out of the corpus: data, tokenizer, optimization, export."""
