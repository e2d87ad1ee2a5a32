"""Where a model loses precision: every call on the device beside a reference, its own error apart from inherited."""
