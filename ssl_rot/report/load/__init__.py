"""Runs and their histories, read from MLflow into DataFrames."""
