"""Damaged and hostile input: what every file must end in, and that no patient text leaves it."""
