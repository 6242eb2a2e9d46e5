"""Pairs of runs, their statistics, and the verdict."""
