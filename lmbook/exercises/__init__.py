"""Checkers for the exercises of the book, one file per chapter.

In a chapter: ``from lmbook.exercises import attention as check``, then ``check.scores(my_scores)``.
"""

from .core import WrongAnswer, compare, exercise, exercises_in, near

__all__ = ["WrongAnswer", "compare", "exercise", "exercises_in", "near"]
