"""What a run shows for itself: curves, pictures, tables and a report, all made from the files it wrote."""
