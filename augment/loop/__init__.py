"""The loop from a classifier's mistakes to more edits and back: train, see where val is wrong, expand, train again."""
