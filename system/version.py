"""The version of this project; its only home. pyproject.toml reads it from here."""

VERSION = "1.0.0"
