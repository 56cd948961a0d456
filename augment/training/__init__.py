"""Training on what was made: a loader that mixes real and synthetic shards, classifiers, and `augment train`."""
