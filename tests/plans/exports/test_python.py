"""Source that is written is read back as the value that it was."""

import ast

from hypothesis import given
from hypothesis import strategies as st

from cruxlm.plans.exports.export import planned
from cruxlm.plans.exports.python import call, literal, names
from plans.exports.carried_out import plan_of

TEXT = st.text(max_size=120)
VALUES = st.one_of(
    st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), TEXT,
    st.lists(TEXT), st.lists(st.integers()), st.dictionaries(TEXT, st.integers() | st.floats(1, 9)),
)  # fmt: skip


@given(VALUES)
def test_a_value_comes_back(value):
    assert ast.literal_eval(literal(value)) == value


@given(st.dictionaries(st.sampled_from(["r", "names", "pattern"]), VALUES))
def test_a_call_comes_back(settings):
    assert eval(call("dict", settings)) == settings


def test_names_come_back_whatever_is_in_them():
    loaded, plan = plan_of("llama", "train", "1,10")
    made = planned(plan, loaded)
    odd = {"x{block}'\"\\\n", "model.layers.1.a{name}'\"", "model.layers.10.b", "model.layers.1."}
    for wanted in (made.trained, odd, made.trained | odd, {"model.layers.10.b"}, {"other"}):
        assert eval(names(made, wanted)) == set(wanted)
