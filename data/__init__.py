"""Pixels on disk <-> arrays: reading, writing and batching images."""
