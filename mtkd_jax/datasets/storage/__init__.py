"""What data sets share of how they are stored, opened and verified (tensorflow-datasets, ArrayRecord)."""
