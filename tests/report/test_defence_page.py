"""The page of a defence: what each arm leaves and costs, its controls, what was set aside."""

from dataclasses import replace

from cruxlm.charts.defence import points
from cruxlm.report.defence_page import defence_page
from report.test_scan_page import HOSTILE, Page
from results.made_defences import made_defence


def said(found):
    return " ".join(" ".join(Page(defence_page(found)).texts).split())


def test_the_page_says_what_a_reader_needs():
    text = said(made_defence())
    assert "the attack succeeds in 99% undefended" in text
    assert "and in 2% with screened and frozen; of the model before in 0%" in text
    assert "What is left of the attack" in text
    assert "+12 (5 to 19)*" in text
    assert "+1 (-6 to 8) points of success taken off beyond them" in text
    assert "not distinguishable from them" in text
    assert "20 of 200 rows were flagged." in text
    assert "19 more are in screening/flagged.jsonl." in text
    assert "far from its group" in text
    assert "one seed: take care" in text


def test_without_an_attack_none_is_claimed():
    held = made_defence(attack=None)
    none = {"success": None, "gain": None, "false_triggers": None}
    arms = tuple(replace(arm, **none) for arm in held.arms)
    beyond = {"loss": held.beyond_random["loss"]}
    text = said(replace(held, arms=arms, beyond_random=beyond))
    assert "no attack was measured" in text
    assert "What is left of the attack" not in text
    assert "attack succeeds" not in text
    assert "What it costs" in text


def test_no_text_of_a_user_becomes_markup():
    plain = Page(defence_page(made_defence(text="\x07" + "x" * len(HOSTILE))))
    page = Page(defence_page(made_defence(text=HOSTILE)))
    assert page.structure == plain.structure
    assert "<script>alert(1)</script>" in "".join(page.texts)


def test_an_interval_that_holds_zero_has_no_star():
    assert points({"value": 0.1, "low": -0.01, "high": 0.2}) == "+10 (-1 to 20) "
    assert points({"value": 0.1, "low": 0.01, "high": 0.2}) == "+10 (1 to 20)*"
    assert points({"value": -0.001, "low": None, "high": None}) == "+0 "
    assert points({"value": 0.99, "low": 0.95, "high": 1.0}, signed=False) == "99 (95 to 100)"
