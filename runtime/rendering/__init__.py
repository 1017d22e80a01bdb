"""Runs the untrusted code of artifacts, chat templates and tokenizers' splitting, in a process that can be killed."""
