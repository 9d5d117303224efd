"""Rows: read from files and the Hub, made uniform, passed through steps, mixed, and kept as parquet."""
