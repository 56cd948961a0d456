"""Emoji world: its renderer, its pictures, and the small model that was trained on them."""
