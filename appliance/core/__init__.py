"""The shared core: four tiers, imports go down only (DESIGN part 3)."""
