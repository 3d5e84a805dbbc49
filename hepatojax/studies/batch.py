"""How much a study does at once. No JAX here, for the estimate of memory, `hepatojax.io.scenario.size`, reads it."""

RUNS_AT_ONCE = 8  # of the screening, the scans and the certificate, or patients, in one compiled call
