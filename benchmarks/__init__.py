"""Measures mlxbuild beside what a user would pick instead: one file per question, ratios from one run.

`python -m benchmarks [NAME ...] [--runs N] [--json]`. Whether the code is right is for the tests to say.
"""
