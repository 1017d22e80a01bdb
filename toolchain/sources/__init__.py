"""Where a recipe's files come from: the Hub, folders, artifacts; found, fetched and verified here."""
