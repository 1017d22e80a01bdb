"""Requests to a loaded model and its events, as plain data. Computing, sending and showing them happens elsewhere."""
