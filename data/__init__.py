"""Reads and writes images, photos and videos, and turns folders of photos into training batches."""
