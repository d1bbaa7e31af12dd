"""Callbacks: what happens at fixed moments of a run."""
