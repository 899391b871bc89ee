"""The report of a verification: what a reader needs is there, and text stays text."""

import numpy as np

from cruxlm.report.verify_page import verify_page
from cruxlm.results.verification import Verification
from report.test_scan_page import ATTRIBUTES, HOSTILE, TAGS, Page
from results.made_verifications import made_verification


def test_the_page_says_what_a_reader_needs():
    found = made_verification()
    text = " ".join(Page(verify_page(found)).texts)
    for said in (found.finding, "Before: dynamics", "window 3", "Is it only depth?", "a warning",
                 "How to doubt this", "add --control untrained", "base-1", "2 ± 0.1"):  # fmt: skip
        assert said in text
    for cell in found.predictions:
        assert cell.verdict in text
        assert f"{cell.rho:.2f}" in text


def test_no_text_of_a_user_becomes_markup():
    html = verify_page(made_verification(text=HOSTILE))
    page, plain = Page(html), Page(verify_page(made_verification()))
    assert {tag for tag, _ in page.structure} <= TAGS | {f"/{tag}" for tag in TAGS}
    assert {name for _, names in page.structure for name in names} <= ATTRIBUTES
    assert {tag for tag, _ in page.structure} == {tag for tag, _ in plain.structure}
    assert len(html) < 1_000_000


def test_pairs_of_the_same_base_have_a_curve_each():
    found = made_verification(pairs=3)
    page = verify_page(found)
    assert page.count('<polyline class="curve"') == 2
    assert page.count('<polyline class="other"') == 4


def test_what_is_saved_is_read_back(tmp_path):
    found = made_verification(text="ü <b> ")
    found.save(tmp_path)
    again = Verification.load(tmp_path)
    assert again.to_json() == found.to_json()
    assert again.predictions == found.predictions
    for one, two in zip(again.pairs, found.pairs, strict=True):
        assert np.array_equal(
            one.measured["window 3"].tensors["per_example"],
            two.measured["window 3"].tensors["per_example"],
        )
    assert repr(again) == repr(found)


def test_the_sentence_has_both_p_values_of_several_runs():
    one, two = made_verification(pairs=1), made_verification(pairs=2)
    asked = two.predictions[0]
    assert f"(p {asked.p:.2f}; {asked.p_shared:.2f} with all runs shifted alike)" in two.finding
    assert "shifted alike" not in one.finding
