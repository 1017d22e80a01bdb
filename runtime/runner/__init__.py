"""One process per loaded model: how it begins, is spoken to, watched and ended. Which are kept: the scheduler."""
