"""Runs what is untrusted in a process that can be killed: chat templates, tokenizers' splitting, grammars."""
