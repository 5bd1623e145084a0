"""`/routes/PREFIX/`: passes requests on to the programs that static routes lead to."""
