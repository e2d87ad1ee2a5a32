"""Programs on a device that fails by plan: they end right, or with an error that says what was lost."""
