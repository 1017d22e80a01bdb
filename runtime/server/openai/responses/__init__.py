"""`/v1/responses`: conversations item by item, whole in every request or going on after a response that is kept."""
