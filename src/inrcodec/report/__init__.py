"""Pictures of what a decoded volume has lost: a page for browsers, an image, a preview in text."""
