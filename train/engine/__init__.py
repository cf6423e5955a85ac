"""What every training shares: the loop, a step, the run folder, several processes, scalars."""
