"""`/v1/responses`: conversations as items, sent whole in every request or continuing a stored response."""
