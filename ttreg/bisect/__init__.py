"""Where a model loses precision: compares each call with a reference, and separates its own error from inherited error."""
