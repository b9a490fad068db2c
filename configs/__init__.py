"""Recipes: YAML files, named on the command line without path and ending."""
