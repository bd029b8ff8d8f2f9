"""Colours that are told apart with every common colour vision, and what each means in every picture of the project."""

from __future__ import annotations

# The colours of Okabe and Ito ("Color Universal Design", 2008).
BLACK = "#000000"
ORANGE = "#E69F00"
SKY_BLUE = "#56B4E9"
GREEN = "#009E73"
BLUE = "#0072B2"
VERMILLION = "#D55E00"
PURPLE = "#CC79A7"
GREY = "#666666"  # for helper lines and remarks; not part of the palette
CYCLE = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY_BLUE, GREY)  # of curves that have no meaning of their own

MEMBRANE = BLUE
PSC = GREEN
SPIKE = BLACK
THRESHOLD = VERMILLION
INPUT = SKY_BLUE
DIVERGING_MAP = "PuOr"
SHARE_MAP = "Purples"
DASHES = (0, (5, 3))
