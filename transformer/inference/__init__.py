"""Loads a finished style and stylizes images with it: whole or in tiles, within a memory limit."""
