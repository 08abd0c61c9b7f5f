"""Reports of a run: curves, pictures, tables and a summary, made from the files that the run wrote."""
