"""Files -> Annotations -> batches."""
