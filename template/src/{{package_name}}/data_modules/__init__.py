"""Data modules: where batches come from, one dataset a file."""
