"""Data sets as TFDS records, which hold decoded pixels."""
