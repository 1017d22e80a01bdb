"""`/v1/responses`, without a memory: whatever a conversation holds comes with every request."""
