"""What only the tokenizer, a sample of the rows or a model skeleton can tell before training: checks with manual pages.

`checks/` judges and imports nothing heavy, so that every command can show its pages; what it judges is measured by the
other modules, in a process of its own: `python -m llmrecipe.preflight JOB.json RESULT.json`.
"""
