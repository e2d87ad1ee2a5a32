"""Seeded weights for models whose trained ones cannot be had here."""
