"""What stages do, one file per kind; `python -m llmrecipe.stages JOB.json` runs one."""
