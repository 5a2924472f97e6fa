"""absl binaries: flags and one call each; the only readers of configs."""
