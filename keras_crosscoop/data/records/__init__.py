"""Data sets as TFDS records: pixels decoded once, read ever after without decoding."""
