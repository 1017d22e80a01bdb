"""`/v1/completions`: a raw prompt, continued."""
