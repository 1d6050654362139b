"""Virtual trials: cohorts of virtual patients, arms, an engine that loses nothing, and what came of it."""
