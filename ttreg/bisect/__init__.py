"""Where a model loses precision: compares each call with a reference, and separates own from inherited error."""
