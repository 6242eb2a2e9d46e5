"""Runs and their histories from MLflow, as two DataFrames."""
