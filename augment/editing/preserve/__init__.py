"""What keeps the object while the scene changes: soft masks from several sources, and the blending that reads them."""
