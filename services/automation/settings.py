"""Automation has no settings of its own: the kit's are all it needs."""
