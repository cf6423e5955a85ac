"""What a run can be told: options, presets, experiments and sweeps (YAML) and their schema."""
