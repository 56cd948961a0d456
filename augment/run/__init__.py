"""One expansion job: its config, its units of work, its budget, and what can be asked about it."""
