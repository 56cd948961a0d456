"""Text-to-image models behind one interface, one family per file: what knows diffusers and transformers."""
