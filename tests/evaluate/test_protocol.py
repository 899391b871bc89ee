"""The evaluators by name, and that each keeps to what an evaluator promises."""

from importlib.metadata import EntryPoint

import numpy as np
import pytest
import torch

from conftest import byte_tokenizer
from cruxlm.evaluate.examples import Example
from cruxlm.evaluate.protocol import EVALUATORS, Evaluator, outcome
from cruxlm.models.load import load_model
from cruxlm.results.evaluation import Evaluation
from cruxlm.runtime import registry
from cruxlm.runtime.errors import OptionError, ProbeError

NAMES = EVALUATORS.names()


@pytest.fixture
def loaded(tiny):
    return load_model(tiny, tokenizer=byte_tokenizer())


@pytest.fixture
def asked(examples):
    """Examples that every evaluator can use."""
    return [Example(**{**vars(example), "answer": "a"}) for example in examples]


def test_the_names():
    assert NAMES == ["loss", "choice", "generation", "forced"]
    assert EVALUATORS.get("nll") is EVALUATORS.get("loss")
    for name in NAMES:
        assert EVALUATORS.get(name).name == name
    with pytest.raises(OptionError, match="no evaluator 'choise': did you mean 'choice'"):
        EVALUATORS.get("choise")


def test_a_package_may_add_one(monkeypatch, loaded, asked):
    point = EntryPoint("length", f"{__name__}:Length", "cruxlm.evaluators")
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [point] if group == "cruxlm.evaluators" else []
    )
    assert EVALUATORS.names() == [*NAMES, "length"]
    evaluator = EVALUATORS.get("length")()
    assert isinstance(evaluator, Evaluator)
    found = evaluator(loaded, asked)
    assert found.values.tolist() == [len(example.prompt) for example in asked]


class Length:
    name = "length"
    higher_is_better = True

    def __call__(self, model, examples):
        return outcome(self, examples, [len(example.prompt) for example in examples])

    def chance(self, examples):
        return None


@pytest.mark.parametrize("name", NAMES)
def test_what_an_evaluator_promises(name, loaded, asked):
    evaluator = EVALUATORS.get(name)()
    assert isinstance(evaluator, Evaluator)
    before = {key: value.clone() for key, value in loaded.module.state_dict().items()}
    settings = loaded.module.generation_config
    state = torch.random.get_rng_state()
    found = evaluator(loaded, asked)
    assert isinstance(found, Evaluation)
    assert found.evaluator == evaluator.name
    assert found.higher_is_better == evaluator.higher_is_better
    assert found.ids == tuple(example.id for example in asked)
    assert found.groups == tuple(example.group for example in asked)
    assert found.chance == evaluator.chance(asked)
    assert found.values.shape == (len(asked),)
    # It can be kept, and comes back.
    back = Evaluation.from_json(found.to_json())
    assert np.array_equal(back.values, found.values)
    # The model is what it was, and so is chance.
    after = loaded.module.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert loaded.module.generation_config is settings
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in loaded.module.modules())
    # The same again, to the last bit.
    assert evaluator(loaded, asked).to_json() == found.to_json()


@pytest.mark.parametrize("name", NAMES)
def test_two_examples_of_one_name_are_refused(name, loaded, asked):
    with pytest.raises(ProbeError, match="two examples have the id 'e0'"):
        EVALUATORS.get(name)()(loaded, [*asked, asked[0]])
