"""The executor port and what implements it: inline threads and child processes."""
