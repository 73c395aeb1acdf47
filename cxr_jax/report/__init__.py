"""Results files to the tables and figures of the documents: `python -m cxr_jax.report`."""
