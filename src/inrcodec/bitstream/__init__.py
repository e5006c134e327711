"""The ``.moec`` file: container, headers and chunks, as docs/format.md specifies them."""
