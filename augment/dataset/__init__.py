"""The dataset that is published: its record, its parts, its shards, and the check of all of them."""
