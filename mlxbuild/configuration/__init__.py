"""What the server's settings are and where each of them comes from. What they do: the rooms that take them."""
