"""Studies: experiments rebuilt end to end, cell by cell, with their tables, figures and page."""

from cruxlm.studies.registry import STUDIES as STUDIES
