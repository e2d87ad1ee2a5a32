"""Records a function once, and replays it: its ttnn calls in a row, without dispatch, plans or wrappers in between."""
