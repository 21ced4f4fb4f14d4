"""Who does the work: this process, local processes, a Ray cluster."""
