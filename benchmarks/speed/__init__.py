"""How fast Viska is beside its rivals, on one machine, in one run."""
