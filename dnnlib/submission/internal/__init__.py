"""Where a submitted run is executed: one module for each target."""
