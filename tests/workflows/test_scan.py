"""The scan end to end on tiny models: what must not matter, what must, what is left behind."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from transformers import FNetConfig, FNetModel

import cruxlm as crux
from conftest import byte_tokenizer, tiny_llama
from cruxlm.runtime.errors import CruxError, ModelError, OptionError
from cruxlm.testbed.language import rows
from cruxlm.workflows.request import requested_probes

TEXTS = [
    f"{'abcdefghij'[i % 10] * (1 + i % 7)} boats left harbour {i} {'x' * (i % 13)}"
    for i in range(48)
]


def run(model=None, probe=None, **options):
    model = tiny_llama() if model is None else model
    return crux.scan(model, tokenizer=byte_tokenizer(), probe=probe or [TEXTS], **options)


def assert_alike(one, two, tolerance=1e-5):
    assert list(one.scores) == list(two.scores)
    for label, scores in one.scores.items():
        other = two[label]
        for a, b in (
            (scores.values, other.values),
            (scores.stderr, other.stderr),
            (scores.halves, other.halves),
        ):
            assert np.allclose(a, b, atol=tolerance, equal_nan=True), label
    assert one.selection.blocks == two.selection.blocks
    for name, probe in one.probes.items():
        for key in ("n", "ids_sha256", "left_out"):
            assert probe[key] == two.probes[name][key]


@pytest.mark.parametrize("pooling", ["last", "mean", "all"])
def test_batch_size_padding_and_order_do_not_matter(pooling):
    common = {"pooling": pooling, "tokens": 300}
    reference = run(**common)
    for options in ({"batch_size": 1}, {"batch_size": 7, "padding": "left"}, {"batch_size": 48}):
        assert_alike(reference, run(**common, **options))
    assert_alike(reference, run(probe=[TEXTS[::-1]], **common))


def test_two_runs_are_equal_outside_run():
    one, two = (run(control="untrained").to_json() for _ in range(2))
    one.pop("run"), two.pop("run")
    assert json.dumps(one) == json.dumps(two)


def test_scores_are_those_of_the_states(llama):
    """An oracle without hooks: hidden states one prompt at a time, CKA by its definition."""
    tokenizer = byte_tokenizer()
    rows = []
    last = {}
    handle = llama.model.layers[-1].register_forward_hook(
        lambda _m, _a, out: last.update(x=out[0] if isinstance(out, tuple) else out)
    )
    for text in TEXTS:
        with torch.no_grad():
            out = llama(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
        rows.append(
            [h[0, -1].double() for h in out.hidden_states[:-1]]
            + [last["x"].reshape(-1, 32)[-1].double()]
        )
    handle.remove()
    states = torch.stack([torch.stack(row) for row in rows], dim=1)

    def hsic(x, y):
        k, m = (z @ z.T for z in (x - x.mean(0), y - y.mean(0)))
        k, m = k - torch.diag(k.diag()), m - torch.diag(m.diag())
        n = len(k)
        ones = torch.ones(n, dtype=k.dtype)
        return (
            torch.trace(k @ m)
            + k.sum() * m.sum() / ((n - 1) * (n - 2))
            - 2 / (n - 2) * ones @ k @ m @ ones
        )

    outputs = states[1:]
    cka = torch.tensor(
        [[hsic(a, b) / (hsic(a, a) * hsic(b, b)).sqrt() for b in outputs] for a in outputs]
    )
    found = run(llama, n=48)
    assert np.allclose(found["dynamics"].tensors["cka"], cka, atol=1e-5)
    middle = 1 - (cka[2, 1] + cka[2, 3]) / 2
    assert found["dynamics"].values[2] == pytest.approx(float(middle), abs=1e-5)
    influence = 1 - torch.nn.functional.cosine_similarity(states[3], states[4]).mean()
    assert found["block_influence"].values[3] == pytest.approx(float(influence), abs=1e-6)


def test_a_live_model_is_left_as_it_was():
    model = tiny_llama()
    model.train()
    model.model.layers[2].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    run(model, control="untrained")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert [layer.training for layer in model.model.layers] == [True, True, False, True, True, True]


def test_identity_blocks_do_not_turn_and_a_planted_one_does():
    """Blocks 1 to 4 write nothing, block 5 of 8 writes a lot: it and its neighbour lead."""
    model = tiny_llama(blocks=8)
    for index in (1, 2, 3, 4, 6, 7):
        layer = model.model.layers[index]
        for linear in (layer.self_attn.o_proj, layer.mlp.down_proj):
            nn.init.zeros_(linear.weight)
    with torch.no_grad():
        model.model.layers[5].mlp.down_proj.weight.mul_(30)
    found = run(model, select_by="top:2")
    assert found.selection.blocks == (4, 5)
    assert set(found.scores) == {"dynamics", "block_influence", "angular_distance"}
    assert np.allclose(found["block_influence"].values[[1, 2, 3, 4, 6, 7]], 0, atol=1e-6)
    assert found["block_influence"].values[5] > 0.1
    assert found.selection.frequency[5] == 1.0


def test_families_of_the_testbed_are_a_probe(llama_folder):
    probes = requested_probes(["testbed:recall,lists", "testbed:deduction"], None)
    assert [probe.name for probe in probes] == ["testbed:recall,lists", "testbed:deduction"]
    assert {prompt.group for prompt in probes[0].prompts} == {"recall", "lists"}
    assert {prompt.group for prompt in probes[1].prompts} == {None}
    drawn = rows("heldout", 3, families=["deduction"])
    assert [prompt.text for prompt in probes[1].prompts[:3]] == [row.prompt for row in drawn]
    found = crux.scan(llama_folder, probe="testbed:recall,lists", n=40, within_groups=True)
    assert found.probes["testbed:recall,lists"]["groups"]["names"] == ["lists", "recall"]
    with pytest.raises(OptionError, match="did you mean 'deduction'"):
        crux.scan(llama_folder, probe="testbed:decuction")


def test_labels_presets_probes_and_controls(llama_folder):
    found = crux.scan(
        llama_folder,
        criteria=["cka", "dynamics:paper", "block_influence"],
        probe=["builtin", "random-tokens"],
        n=40,
        control="untrained",
        seed=3,  # the model itself is an untrained one, of seed 0
    )
    assert list(found.scores) == [
        "dynamics", "dynamics:paper", "block_influence",
        "dynamics@random-tokens", "dynamics:paper@random-tokens", "block_influence@random-tokens",
    ]  # fmt: skip
    assert list(found.controls["untrained"]) == list(found.scores)
    assert np.isnan(found["dynamics:paper"].values[[0, 1, 4, 5]]).all()
    assert [row["probe"] for row in found.agreement["probes"]] == ["builtin", "random-tokens"]
    assert found.probes["builtin"]["template"] == "chat"
    assert found.agreement["controls"]["untrained"]["dynamics"]["blocks"] == 4
    one, two = found.controls["untrained"]["dynamics"].values, found["dynamics"].values
    assert not np.allclose(one, two)


def test_groups_are_reported_and_removed(llama, tmp_path):
    rows = [{"text": t, "family": "ab"[i % 2]} for i, t in enumerate(TEXTS)]
    file = tmp_path / "grouped.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    kept = run(llama, probe=file)
    removed = run(llama, probe=file, within_groups=True)
    shares = kept.probes["grouped"]["groups"]["variance_between"]
    assert len(shares) == 6
    assert all(0 < share < 1 for share in shares)
    assert not np.allclose(kept["dynamics"].values, removed["dynamics"].values)
    assert np.allclose(kept["block_influence"].values, removed["block_influence"].values)
    assert any("--within-groups" in w for w in removed["block_influence"].warnings)
    with pytest.raises(OptionError, match="no field of groups"):
        run(llama, within_groups=True)


def test_few_prompts_have_scores_and_no_errors(llama):
    found = run(llama, probe=[TEXTS[:4]])
    assert found["dynamics"].stderr is None
    assert found.selection.frequency is None
    assert any("too few prompts" in w for w in found["dynamics"].warnings)
    assert json.dumps(found.to_json(), allow_nan=False)


def test_pooling_all_deals_whole_prompts(llama):
    found = run(llama, pooling="all", tokens=200)
    assert found.probes["prompts"]["samples"] == 200
    assert any("tokens of one prompt" in w for w in found["dynamics"].warnings)


def test_a_model_that_reads_padding_is_said_to():
    """FNet mixes all places by a Fourier transform and takes no mask; Llama is the control."""
    torch.manual_seed(0)
    config = FNetConfig(
        vocab_size=300, hidden_size=16, num_hidden_layers=3, intermediate_size=32, type_vocab_size=2
    )
    found = run(FNetModel(config).eval())
    assert found.probes["prompts"]["padding_error"] > 0.05
    assert any("reads padding" in warning for warning in found["dynamics"].warnings)
    assert not any("reads padding" in w for w in run()["dynamics"].warnings)
    assert run().probes["prompts"]["padding_error"] < 1e-5
    alone = run(FNetModel(config).eval(), batch_size=1)
    assert alone.probes["prompts"]["padding_error"] is None


def test_a_model_of_two_blocks_has_an_answer():
    found = run(tiny_llama(blocks=2), control="untrained", seed=1)
    assert len(found.selection.blocks) == 1
    assert found.selection.ends == "keep"


def test_options_given_twice_must_agree(llama):
    twice = [("dynamics", {"window": 3}), ("dynamics", {"window": 5})]
    with pytest.raises(OptionError, match="asked for twice"):
        run(llama, criteria=twice)
    assert list(run(llama, criteria=["cka", "dynamics:default"]).scores) == ["dynamics"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 3}, "n must be"),
        ({"n": True}, "n must be"),
        ({"pooling": "first"}, "pooling must be"),
        ({"padding": "middle"}, "padding must be"),
        ({"control": "none"}, "control must be"),
        ({"criteria": []}, "no criterion"),
        ({"select_by": "best:2"}, "no selection rule"),
        ({"ends": "maybe"}, "ends must be"),
    ],
)
def test_options_that_make_no_sense(llama, options, message):
    with pytest.raises(OptionError, match=message):
        run(llama, **options)


def test_a_model_that_overflows_is_named_by_its_block():
    model = tiny_llama()
    with torch.no_grad():
        model.model.layers[3].mlp.down_proj.weight.fill_(1e38)
    with pytest.raises(
        ModelError, match=r"block 3 \(model.layers.3\) give states that are not finite"
    ):
        run(model)


def test_the_selection_is_written_out_for_other_tools(llama_folder, llama):
    scan = crux.scan(str(llama_folder), probe=[TEXTS])
    held = {one.action: {made.target: made for made in one.made} for one in scan.exports}
    assert {"peft", "axolotl", "regex"} <= set(held["lora"])
    wanted = {name for name, _ in llama.named_parameters() if _block(name) in scan.selection.blocks}
    pattern = held["train"]["regex"].text.strip()
    names = [name for name, _ in llama.named_parameters()]
    assert {name for name in names if re.fullmatch(pattern, name)} == wanted
    assert yaml.safe_load(held["lora"]["axolotl"].text)["base_model"] == str(llama_folder)
    (refused,) = [one.refused for one in scan.exports if one.action == "lora"]
    assert "trains none" in refused["mergekit"]


def _block(name):
    found = re.match(r"model\.layers\.(\d+)\.", name)
    return int(found[1]) if found else None


def test_no_path_of_ours_is_in_a_scan():
    text = json.dumps(crux.scan(probe="random-tokens", n=20).to_json())
    assert str(Path(crux.__file__).parent) not in text
    assert "testbed:base-0" in text


def test_a_model_that_nothing_can_be_trained_in_is_scanned_all_the_same():
    config = FNetConfig(
        vocab_size=300, hidden_size=16, num_hidden_layers=4, intermediate_size=20, pad_token_id=0
    )
    scan = run(FNetModel(config))
    reasons = [reason for one in scan.exports for reason in one.refused.values()]
    assert reasons
    assert len(scan.primary.values) == 4


def test_a_live_model_without_tokenizer_can_read_random_tokens(llama):
    found = crux.scan(llama, probe="random-tokens", n=20)
    assert found.probes["random-tokens"]["n"] == 20
    with pytest.raises(CruxError, match="no tokenizer"):
        crux.scan(llama, n=20)


@pytest.mark.real
@pytest.mark.parametrize("name", ["stories260K", "stories3M", "craftgpt"])
def test_real_models_on_real_data(real_models, real_data, name, tmp_path):
    options = {"probe": real_data / "dolly_3k.jsonl", "n": 64}
    found = crux.scan(real_models / name, **options)
    folder = found.save(tmp_path / name)
    assert {p.name for p in Path(folder).iterdir()} == {
        "scan.json",
        "scan.safetensors",
        "report.html",
    }
    assert_alike(found, crux.scan(real_models / name, batch_size=5, padding="left", **options))
    assert_alike(crux.Scan.load(folder), found)
    assert found.probes["dolly_3k"]["groups"] is not None
