"""The files of a model: facts, tokenizer, chat template, weights."""
