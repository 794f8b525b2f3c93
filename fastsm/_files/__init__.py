"""Bytes on disk: atomic writes, the safetensors layout, trees of plain values."""
