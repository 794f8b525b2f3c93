"""Bytes on disk: atomic writes, the model format, trees of plain values."""
