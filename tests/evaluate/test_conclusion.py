import pytest

from cruxlm.evaluate.conclusion import Shape, marked, shape_of
from cruxlm.runtime.errors import OptionError
from cruxlm.testbed.reading import conclusion, conclusion_span


def test_what_stands_after_the_last_mark():
    text = "One #### 3. Then two more, so #### 5 \n"
    mark, first, last = marked("####")(text)
    assert text[first:last] == "5"
    assert text[mark:].startswith("#### 5")
    assert marked("####")("five") is None


def test_shapes():
    find = marked(r"(?i)the answer is")
    assert shape_of("The answer is B, because snakes hunt.", find) == Shape(True, 0, 0.0)
    late = shape_of("Snakes hunt. The answer is B.", find)
    assert (late.first, late.rationale) == (False, 2)
    assert late.place == pytest.approx(13 / 29)
    assert shape_of("Snakes hunt.", find) is None
    assert shape_of("  ", marked("x")) is None


def test_shapes_of_the_testbed():
    late = shape_of("Bo is a heron. Herons fly. So Bo flies.", conclusion_span)
    assert (late.first, late.rationale) == (False, 6)
    early = shape_of("Bo flies because Bo is a heron.", conclusion_span)
    assert (early.first, early.rationale, early.place) == (True, 5, 0.0)
    for text in ("So Bo flies.", "It is so: 5, since 2 + 3 is 5.", "Thus", "a"):
        _, first, last = conclusion_span(text)
        assert text[first:last] == conclusion(text)


@pytest.mark.parametrize(("pattern", "said"), [("(", "no regular"), ("x*", "empty text")])
def test_markers_that_say_nothing(pattern, said):
    with pytest.raises(OptionError, match=said):
        marked(pattern)
