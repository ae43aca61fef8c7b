"""Stylizes photos with a trained network: `python infer.py PHOTO --style NAME -o OUT`."""

import argparse
import sys
import time
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path

