"""Texts: words, terms, lengths, nearest texts."""
