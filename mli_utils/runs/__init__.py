"""Finds, computes and keeps runs, in this process or on a Dask cluster."""
