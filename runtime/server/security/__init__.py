"""Who may ask the server, from where, and how much. What is asked is not looked at here."""
