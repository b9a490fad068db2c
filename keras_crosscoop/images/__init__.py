"""Image, label and video files: reading, writing, fast decoding, colours, overlays and search by path."""
