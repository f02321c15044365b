"""Ray around the tuner: connecting, and starting nodes and jobs."""
