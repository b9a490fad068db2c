"""Image and video files: found, decoded, read and written."""
