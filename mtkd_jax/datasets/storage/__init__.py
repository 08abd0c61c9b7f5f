"""Storing, opening and verifying, shared by all data sets (tensorflow-datasets, ArrayRecord)."""
