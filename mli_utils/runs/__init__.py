"""Find, compute and store runs, in this process or on a Dask cluster."""
