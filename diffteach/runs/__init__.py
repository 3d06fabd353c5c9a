"""Runs: a method trained on a data set, in a folder that can be stopped, resumed and evaluated."""

from diffteach.runs.folder import Folder
from diffteach.runs.opened import Opened, open_run
from diffteach.runs.settings import Setup, changes, recipe, with_steps
from diffteach.runs.training import train

__all__ = ["Folder", "Opened", "Setup", "changes", "open_run", "recipe", "train", "with_steps"]
