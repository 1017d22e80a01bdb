"""What differs between two artifacts: documents, texts, tokenizer and tensors. Nothing is changed here."""
