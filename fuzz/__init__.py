"""Fuzz targets: damaged inputs must be read rightly or refused in one line, see engine.py."""
