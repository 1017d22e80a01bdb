"""The kinds of work an action can do, one file per step kind."""
