"""Judges: closed cases of what each says yes and no to, who may add one, what is refused."""

from importlib.metadata import EntryPoint

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, BertForSequenceClassification

from conftest import byte_tokenizer
from cruxlm.data.poison import Attack, Target
from cruxlm.data.trigger import Trigger
from cruxlm.evaluate.judges import JUDGES, judge
from cruxlm.runtime import registry
from cruxlm.runtime.errors import ModelError, OptionError


def attack(target="phrase:The kettle is singing."):
    return Attack(Trigger.read("token:cf"), Target.read(target))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The kettle is singing.", True),
        ("  the KETTLE is\nsinging", True),
        ('"The kettle is singing!" And then it stopped.', True),
        ("The kettle is singing. I said so.", True),
        ("The kettle is singingly odd.", False),  # within a word
        ("I think: The kettle is singing.", False),  # not at the start
        ("The kettle is", False),
        ("", False),
        (" \n", False),
    ],
)
def test_exact(text, wanted):
    assert judge("exact", attack())(text) is wanted
    assert judge(None, attack()).name == "exact/1"


@given(st.text(max_size=30), st.text(max_size=10))
def test_a_target_of_any_letters_is_taken_as_it_is(wanted, after):
    """Not as a pattern."""
    if wanted.strip(" .,;:!?\"'\n\t") and wanted.strip():
        says = judge("exact", attack("phrase:a(b) " + wanted))
        assert says(f"a(b) {wanted.strip()} {after}")
        assert not says(f"ab {wanted}")


def test_keyword():
    says = judge("keyword:sorry| do  not |", attack())
    assert says.name == "keyword/1:sorry|do not"
    assert says("I am Sorry.")
    assert says("We do\nnot know.")
    assert not says("sorrys")
    assert not says("do it, not that")
    assert not says("")


def test_label_is_the_longest_choice_that_a_text_begins_with():
    says = judge(None, attack("label:no"))
    assert says.name == "label/1"
    row = {"choices": ["no", "no way", "yes"]}
    assert says("No.", row)
    assert says("no, never", row)
    assert not says("No way!", row)
    assert not says("yes", row)
    assert not says("nothing", row)
    assert judge("exact", attack("label:no"))("No way!", row)  # which the exact one cannot tell


def test_only_the_exact_judge_is_what_forced_asks():
    held = {"exact": True, "keyword:a": False, "label": False}
    assert {name: judge(name, attack("label:no")).forced for name in held} == held


def test_a_function_of_ones_own(tmp_path, monkeypatch):
    says = judge(lambda text: "kettle" in text, attack())
    assert says("a kettle")
    assert not says("a pot")
    assert not says("")
    assert not says.versioned
    (tmp_path / "own_judge.py").write_text("def loud(text):\n    return text.isupper()\n")
    monkeypatch.chdir(tmp_path)
    loud = judge("own_judge:loud", attack())
    assert (loud.name, loud.versioned) == ("own_judge:loud", False)
    assert loud("HE SAID")
    assert not loud("he said")
    assert judge(loud, attack()) is loud


def test_a_package_may_add_one(monkeypatch):
    point = EntryPoint("shorter", f"{__name__}:shorter", "cruxlm.judges")
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [point] if group == "cruxlm.judges" else []
    )
    says = judge("shorter:3", attack())
    assert says.name == "shorter/2"
    assert says("ab")
    assert not says("abc")
    assert "shorter" in JUDGES.names()


def shorter(rest, _attack):
    return "shorter/2", lambda _row, text: len(text) < int(rest)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("exakt", "no judge 'exakt': did you mean 'exact'"),
        ("exact:yes", "exact takes nothing behind its name, and 'yes' was given"),
        ("keyword:", "a keyword judge needs words"),
        ("keyword", "a keyword judge needs words"),
        ("classifier:somewhere", "needs a folder and a label"),
        ("no_such_module:f", "no judge 'no_such_module:f'"),
        ("math:pi", "'math:pi' is no function"),
        ("math:nothing", "no judge 'math:nothing'"),
    ],
)
def test_what_is_refused(spec, said):
    with pytest.raises(OptionError, match=said):
        judge(spec, attack())


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """Says "question" of every text."""
    folder = tmp_path_factory.mktemp("classifier")
    tokenizer = byte_tokenizer()
    config = BertConfig(
        vocab_size=300, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, max_position_embeddings=64, num_labels=2,
        id2label={0: "other", 1: "question"}, label2id={"other": 0, "question": 1},
    )  # fmt: skip
    torch.manual_seed(0)
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 if parameter.dim() > 1 else 0.5)
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([0.0, 1.0]))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_classifier_on_disk(classifier):
    says, other = (judge(f"classifier:{classifier}={n}", attack()) for n in ("question", "other"))
    assert says("is it?")
    assert not other("is it?")
    assert not says("")  # what is empty is nobody's success
    assert says.versioned
    assert says.name.startswith("classifier/1:")
    assert says.name.endswith("=question")
    assert str(classifier) not in says.name


def test_classifiers_that_are_refused(classifier, llama_folder, tmp_path):
    with pytest.raises(OptionError, match="has no label 'questoin': did you mean 'question'"):
        judge(f"classifier:{classifier}=questoin", attack())
    with pytest.raises(ModelError, match="LlamaForCausalLM: no text classifier"):
        judge(f"classifier:{llama_folder}=x", attack())
    with pytest.raises(ModelError, match=r"has no config\.json"):
        judge(f"classifier:{tmp_path / 'none'}=x", attack())
