"""Models written by hand in ttnn, one call for each op of their modules: what ttreg's calls are held against."""
