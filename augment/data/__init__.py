"""Files, tars and shards: the only place that knows where pictures come from and where they go."""
