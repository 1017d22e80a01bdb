"""What a loaded model is: its facts, its tokenizer, its prompt template, its weights."""
