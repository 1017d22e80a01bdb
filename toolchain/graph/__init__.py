"""The build graph: actions, their keys, the plan, and why something has to run again."""
