"""Small worlds that small models can learn, one module each."""
