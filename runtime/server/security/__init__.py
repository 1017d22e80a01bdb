"""Access control: who may send requests, from where, and how many, regardless of their content."""
