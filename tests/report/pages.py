"""One page of every kind, of invented results; ``text`` stands in every name."""

from dataclasses import replace

from cruxlm.charts.lines import line_chart
from cruxlm.report.arms_page import arms_page
from cruxlm.report.attacked_page import attacked_page
from cruxlm.report.defence_page import defence_page
from cruxlm.report.interventions_page import interventions_page
from cruxlm.report.scan_page import scan_page
from cruxlm.report.screening_page import screening_page
from cruxlm.report.spectra_page import spectra_page
from cruxlm.report.verify_page import verify_page
from cruxlm.results.comparison import Gap
from cruxlm.studies.page import Page, Section, page_files
from results.made_attacks import made_attacked
from results.made_comparisons import made_arm, made_comparison
from results.made_defences import made_defence
from results.made_scans import made_scan
from results.made_screenings import made_screening
from results.made_spectra import made_interventions, made_spectra
from results.made_verifications import made_verification


def scan(text=""):
    probes = (f"{text}builtin", f"{text}other")
    return scan_page(made_scan(36, probes=probes, text=text))


def comparison(text=""):
    arms = (
        made_arm(f"{text}dynamics"),
        made_arm(f"{text}random", (5, 9), 1.5, Gap(0.25, 0.04, 0.01), drawn=((5, 9), (2, 11))),
        made_arm(f"{text}last", (10, 11), 1.26, Gap(0.01, 0.03, None)),
    )
    words = ("dynamics:2", "random:2", "last:2")
    arms = [replace(arm, blocks=word) for arm, word in zip(arms, words, strict=True)]
    return arms_page(made_comparison(*arms, model=f"{text}a model", warnings=(f"{text}care",)))


def verification(text=""):
    return verify_page(made_verification(pairs=3, text=text))


def spectra(text=""):
    return spectra_page(made_spectra(24, text=text))


def screening(text=""):
    return screening_page(made_screening(60, text=text))


def interventions(text=""):
    return interventions_page(made_interventions(text=text))


def defence(text=""):
    return defence_page(made_defence(text=text))


def attacked(text=""):
    return attacked_page(made_attacked(text=text))


def study(text=""):
    rows = [(f"{text}{n}", f"{value}%") for n, value in enumerate((10, 9.5, 100))]
    chart = line_chart({f"{text}a": [(1, 2), (2, 1)]}, label=f"{text}means", across="cell")
    made = Page(
        f"{text}The mean is 1.",
        [Section(f"{text}Means", f"{text}Some.", ("cell", f"{text}mean"), rows, "means", chart)],
        [f"{text}Few cells."],
    )
    return page_files("tiny", f"{text}Means?", made, {f"{text}torch": "2"})["report.html"].decode()


PAGES = {
    "scan": scan,
    "comparison": comparison,
    "verification": verification,
    "spectra": spectra,
    "interventions": interventions,
    "screening": screening,
    "defence": defence,
    "attacked": attacked,
    "study": study,
}
