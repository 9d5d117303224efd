"""What only the Hub can tell of a recipe, before anything is downloaded: checks with manual pages.

Nothing here uses the network: what the Hub says comes in through `Ask`, which `llmrecipe.hub` implements. So every
command can show the pages.
"""

from llmrecipe.remote.asking import answers
from llmrecipe.remote.checks import CHECKS
from llmrecipe.remote.judging import Judged, judge
from llmrecipe.remote.named import Named, named
from llmrecipe.remote.repository import Answer, Answers, Ask, Question, Reason, Refusal, Repository, Space

__all__ = [
    "CHECKS",
    "Answer",
    "Answers",
    "Ask",
    "Judged",
    "Named",
    "Question",
    "Reason",
    "Refusal",
    "Repository",
    "Space",
    "answers",
    "judge",
    "named",
]
