"""Comparisons of methods: what is measured, the tables and the plots."""
