"""The `augment` command: its arguments, its messages and its exit codes."""
