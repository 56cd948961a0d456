"""The study of what edits are worth to a classifier: tracks of emoji world, arms, and what they are compared by."""
