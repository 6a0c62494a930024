"""Derivatives from Python: tables, pieces of the rows on several threads, arrays out."""
