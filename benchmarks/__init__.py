"""Measurements by hand: nothing here is installed or read by the package."""
