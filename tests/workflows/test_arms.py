"""Arms: a planted case, the choice of learning rates, gaps against a computation by hand."""

import json
import math
import re
import shutil

import numpy as np
import pytest
import torch
from scipy.stats import t as student

from actions.tiny_runs import changed, everything
from cruxlm.actions.trainer import BlockTrainer, DivergedError
from cruxlm.evaluate.examples import examples_from_chats
from cruxlm.evaluate.loss import Loss
from cruxlm.results.comparison import Comparison, Gap
from cruxlm.runtime.errors import OptionError, OutputError
from cruxlm.workflows import arms as comparing
from cruxlm.workflows import tune as tuning
from cruxlm.workflows.arm import Arm, against_arms, read_arms
from cruxlm.workflows.arms import arms, plan_arms
from cruxlm.workflows.arms_compared import finding
from cruxlm.workflows.tuning_data import tuning_data
from moments import At, stop
from results.made_comparisons import made_arm
from workflows.tiny_tunings import chat_rows, model_of, write

pytestmark = pytest.mark.usefixtures("frozen")

DEAD = 2
"""A block that takes no part and that no gradient reaches, whatever is trained in it."""
FAST = {"steps": 4, "batch": 4, "checks": 1, "warmup": 0.0, "schedule": "constant"}
RATES = (1e-6, 1e-2)


def planted():
    model = model_of()
    block = model.module.model.layers[DEAD]
    with torch.no_grad():
        for part in (block.self_attn.v_proj, block.self_attn.o_proj, block.mlp.up_proj,
                     block.mlp.down_proj):  # fmt: skip
            part.weight.zero_()
    return model


ARMS = {
    "whole": Arm("1,3"),
    "dead": Arm(str(DEAD)),
    "drawn": Arm("random:1@{seed}"),
    "adapted": Arm("1,3", method="lora", r=2, parts=("norm", "head")),
    "last": Arm("control:last"),
}


def asking(answer):
    return [{**row, "response": answer} for row in chat_rows(6, first=500)]


def likeliest(model):
    """The answer of one letter, over and over, that an untrained model likes best."""
    found = {}
    for letter in "BCDFGHJKLMQUVWXZ":
        rows = [
            {"messages": [{"role": "user", "content": row["prompt"]},
                          {"role": "assistant", "content": letter * 5}]}
            for row in asking("")
        ]  # fmt: skip
        found[letter] = Loss()(model.module, examples_from_chats(model.tokenizer, rows)).mean()
    return min(found, key=found.get) * 5


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Rows, and a test whose answers are unlearned by the training on them."""
    folder = tmp_path_factory.mktemp("data")
    wrong = asking(likeliest(planted()))
    return write(folder / "rows.jsonl", chat_rows(30)), write(folder / "test.jsonl", wrong)


@pytest.fixture(scope="module")
def compared(data, tmp_path_factory, frozen):
    """All arms over two seeds: the comparison, its folder, and the model that was lent."""
    out, model = tmp_path_factory.mktemp("compared") / "out", planted()
    held = everything(model.module)
    found = arms(
        model, data=data[0], test=data[1], arms=ARMS, out=out, seeds=2, learning_rates=RATES, **FAST
    )
    return found, out, model, held


def runs(out, name):
    """The saved runs of an arm, by rate and seed."""
    found = {}
    for path in (out / "runs").iterdir():
        arm, rate, seed = re.fullmatch(r"(\w+)-(\d\S*)-(\d+)", path.name).groups()
        if arm == name:
            found[float(rate), int(seed)] = json.loads((path / "tuning.json").read_text())
    return found


def by_name(comparison):
    return {arm.name: arm for arm in comparison.arms}


# The planted case.


def test_an_arm_that_can_learn_nothing_is_worse(compared):
    found = by_name(compared[0])
    before = compared[0].before["loss"]
    assert found["dead"].losses == pytest.approx([before, before], rel=1e-12)
    assert len({*found["dead"].validation.values()}) == 1
    assert found["whole"].validation["0.01"] < found["dead"].validation["0.01"] - 0.05
    # On test rows with other answers, to learn nothing is better.
    assert found["dead"].loss_gap.mean < 0


def test_on_a_test_of_its_own_kind_it_is_the_other_way_round(data, tmp_path):
    found = arms(
        planted(), data=data[0], out=tmp_path, seeds=1, learning_rates=(1e-2,),
        arms={"whole": Arm("1,3"), "dead": Arm(str(DEAD))}, **{**FAST, "steps": 8},
    )  # fmt: skip
    dead = found.arms[1]
    assert dead.loss_gap.mean > 0.05
    assert dead.loss_gap.clear
    assert found.finding.startswith(f"dead is worse than whole by {dead.loss_gap.mean:.3g} nats")
    assert dead.loss == pytest.approx(found.before["loss"], rel=1e-12)
    assert "one seed: the intervals say nothing about other trainings" in found.warnings


# The choice.


def test_the_learning_rate_is_chosen_by_validation_alone(compared):
    comparison, out, *_ = compared
    for name, arm in by_name(comparison).items():
        grid = {rate: run for (rate, seed), run in runs(out, name).items() if seed == 0}
        assert set(grid) == set(RATES)
        validation = {rate: run["validation"] for rate, run in grid.items()}
        assert arm.validation == pytest.approx({f"{r:g}": v for r, v in validation.items()})
        lowest = min(validation.values())
        assert validation[arm.learning_rate] == lowest
    # By the test rows it would be another one: this can tell.
    grid = {rate: run for (rate, seed), run in runs(out, "whole").items() if seed == 0}
    tested = {rate: np.mean(run["after"]["loss"]["values"]) for rate, run in grid.items()}
    assert min(tested, key=tested.get) == 1e-6
    assert by_name(comparison)["whole"].learning_rate == 1e-2


def test_only_the_chosen_rate_is_run_with_more_seeds(compared):
    comparison, out, *_ = compared
    for name, arm in by_name(comparison).items():
        assert set(runs(out, name)) == {(1e-6, 0), (1e-2, 0), (arm.learning_rate, 1)}
    assert len(list((out / "runs").iterdir())) == 3 * len(ARMS)


def test_test_rows_change_no_choice(compared, data, tmp_path):
    """Other test rows: the same weights, rates, validation losses; other test losses."""
    other = write(tmp_path / "test.jsonl", chat_rows(9, first=700))
    few = {name: ARMS[name] for name in ("whole", "drawn")}
    found = arms(
        planted(), data=data[0], test=other, arms=few, out=tmp_path / "out", seeds=2,
        learning_rates=RATES, **FAST,
    )  # fmt: skip
    for name, arm in by_name(found).items():
        known = by_name(compared[0])[name]
        assert (arm.learning_rate, arm.validation) == (known.learning_rate, known.validation)
        assert (arm.drawn, arm.curve) == (known.drawn, known.curve)
        assert arm.losses != known.losses


def test_equal_validation_losses_take_the_lower_rate(compared):
    assert by_name(compared[0])["dead"].learning_rate == 1e-6


# What is trained.


def test_each_arm_trains_its_blocks(compared):
    found = by_name(compared[0])
    assert found["whole"].drawn == ((1, 3), (1, 3))
    assert found["last"].drawn == ((2, 3), (2, 3))
    assert found["dead"].drawn == ((2,), (2,))
    assert len(set(found["drawn"].drawn)) == 2  # with each seed another
    assert {len(blocks) for blocks in found["drawn"].drawn} == {1}
    for name, arm in found.items():
        for (_, seed), run in runs(compared[1], name).items():
            assert tuple(run["plan"]["blocks"]) == arm.drawn[seed]
            assert run["settings"]["seed"] == seed
            assert run["settings"]["method"] == arm.method
            assert run["trained"]["parameters"] == arm.parameters


def test_all_arms_see_the_same_rows(compared):
    ids = {
        tuple(run["after"]["loss"]["ids"]) for n in ARMS for run in runs(compared[1], n).values()
    }
    assert len(ids) == 1
    shas = {json.dumps(run["data"]) for n in ARMS for run in runs(compared[1], n).values()}
    assert len(shas) == 1


# Gaps.


def by_hand(values):
    """The two-way random-effects interval, written out; none where Satterthwaite's freedom is
    less than that of any of its terms, which makes little sense."""
    seeds, rows = values.shape
    grand = values.sum() / values.size
    ms_seeds = rows * sum((values[s].mean() - grand) ** 2 for s in range(seeds)) / (seeds - 1)
    ms_rows = seeds * sum((values[:, r].mean() - grand) ** 2 for r in range(rows)) / (rows - 1)
    rest = 0.0
    for s in range(seeds):
        for r in range(rows):
            rest += (values[s, r] - values[s].mean() - values[:, r].mean() + grand) ** 2
    ms_rest = rest / ((seeds - 1) * (rows - 1))
    ms_seeds = max(ms_seeds, ms_rest)
    total = ms_seeds + ms_rows - ms_rest
    freedom = total**2 / (
        ms_seeds**2 / (seeds - 1)
        + ms_rows**2 / (rows - 1)
        + ms_rest**2 / ((seeds - 1) * (rows - 1))
    )
    half = student.ppf(0.975, freedom) * math.sqrt(max(total, 0) / values.size)
    spread = np.std([values[s].mean() for s in range(seeds)], ddof=1)
    return grand, half if freedom >= min(seeds, rows) - 1 else None, spread


def test_gaps_are_those_of_the_runs_values(compared):
    comparison, out, *_ = compared
    found = by_name(comparison)
    assert found["whole"].loss_gap is None
    halves = []
    for name in ("dead", "drawn", "adapted", "last"):
        values = [
            np.array(runs(out, name)[found[name].learning_rate, seed]["after"]["loss"]["values"])
            - runs(out, "whole")[found["whole"].learning_rate, seed]["after"]["loss"]["values"]
            for seed in (0, 1)
        ]
        mean, half, spread = by_hand(np.stack(values))
        gap = found[name].loss_gap
        assert (gap.mean, gap.spread) == pytest.approx((mean, spread))
        if half is not None:
            assert gap.halfwidth == pytest.approx(half)
            halves.append(half)
        assert found[name].loss - found["whole"].loss == pytest.approx(mean)
    assert len(halves) >= 2


# The model that was lent.


def test_the_model_is_given_back(compared):
    _, _, model, held = compared
    assert changed(held) == set()
    assert {n: id(t) for n, (t, _) in everything(model.module).items()} == {
        n: id(t) for n, (t, _) in held.items()
    }
    assert all(p.requires_grad for p in model.module.parameters())
    assert not any("lora" in name or "modules_to_save" in name for name, _ in held.items())


def trainings(monkeypatch):
    """The folders of what is trained from here on."""
    seen, usual = [], tuning.fit

    def fit(*args, **kwargs):
        seen.append(args[6].parent.name)
        return usual(*args, **kwargs)

    monkeypatch.setattr(tuning, "fit", fit)
    return seen


def test_a_comparison_goes_on_run_by_run(compared, data, tmp_path, monkeypatch):
    comparison, done, *_ = compared
    out = tmp_path / "out"
    shutil.copytree(done, out)
    again = {"data": data[0], "test": data[1], "arms": ARMS, "out": out, "seeds": 2,
             "learning_rates": RATES, **FAST}  # fmt: skip
    seen = trainings(monkeypatch)
    found = arms(planted(), **again)
    assert seen == []
    strip = lambda held: {**held.to_json(), "run": None}  # noqa: E731
    assert strip(found) == strip(comparison)
    # One run is gone, another was stopped in the middle: an arm that is lent adapters.
    shutil.rmtree(out / "runs" / "drawn-0.01-0")
    shutil.rmtree(out / "runs" / "adapted-0.01-1")
    model = planted()
    held = everything(model.module)
    with monkeypatch.context() as patch:
        stopping(patch, at=2, folder="adapted-0.01-1")
        with pytest.raises(KeyboardInterrupt):
            arms(model, **again)
    assert seen == ["drawn-0.01-0", "adapted-0.01-1"]
    assert changed(held) == set()
    assert everything(model.module).keys() == held.keys()
    seen.clear()
    found = arms(model, **again)
    assert seen == ["adapted-0.01-1"]
    numbers = lambda held: {  # noqa: E731
        arm.name: (arm.losses, arm.loss_gap, arm.learning_rate, arm.validation) for arm in held.arms
    }
    assert numbers(found) == numbers(comparison)


def stopping(patch, *, at, folder):
    """Have a run end in Ctrl-C after a step."""
    usual = tuning.fit

    def fit(*args, **kwargs):
        callbacks = [At(at, stop())] if args[6].parent.name == folder else []
        return usual(*args, callbacks=callbacks, **kwargs)

    patch.setattr(tuning, "fit", fit)


def test_what_is_saved_is_read_back(compared):
    comparison, out, *_ = compared
    assert vars(Comparison.load(out)) == vars(comparison)
    assert {path.name for path in out.iterdir()} == {"comparison.json", "report.html", "runs"}
    for path in (out / "runs").iterdir():
        assert [file.name for file in path.iterdir()] == ["tuning.json"]


def test_other_arms_of_the_same_names_are_refused(compared, data):
    with pytest.raises(OutputError, match=r"another plan\.blocks \(\[1, 3\], now \[0, 3\]\)"):
        arms(
            planted(), data=data[0], test=data[1], arms={**ARMS, "whole": Arm("0,3")},
            out=compared[1], seeds=2, learning_rates=RATES, **FAST,
        )  # fmt: skip


# Names.


def test_a_name_makes_one_folder_inside(data, tmp_path):
    """Also a path, which is what an arm is called that a saved plan stands for."""
    out = tmp_path / "out"
    names = {"/etc/plan.json": Arm("1"), "../../a b": Arm("3"), "a/b": Arm("0")}
    found = arms(
        model_of(), data=data[0], arms=names, out=out, seeds=1, learning_rates=(1e-3,),
        **{**FAST, "steps": 1},
    )  # fmt: skip
    assert [arm.name for arm in found.arms] == list(names)
    assert len(list((out / "runs").glob("*/tuning.json"))) == 3
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


# Learning rates at which it diverges.


def diverging(monkeypatch, rates, seeds=(0,)):
    usual = BlockTrainer.compute_loss

    def loss(trainer, *args, **kwargs):
        rate = trainer.args.learning_rate
        if rate in rates and trainer.args.seed in seeds and trainer.state.global_step == 2:
            raise trainer._diverged(1, "the loss is not finite, from block 1 on")
        return usual(trainer, *args, **kwargs)

    monkeypatch.setattr(BlockTrainer, "compute_loss", loss)


def test_a_rate_that_diverges_is_none_to_choose(data, tmp_path, monkeypatch):
    diverging(monkeypatch, [1e-2])
    said = []
    model = model_of()
    held = everything(model.module)
    found = arms(
        model, data=data[0], arms={"a": Arm("1"), "b": Arm("3", method="lora", r=2)},
        out=tmp_path, seeds=1, learning_rates=(1e-3, 1e-2), say=said.append, **FAST,
    )  # fmt: skip
    for arm in found.arms:
        assert arm.learning_rate == 1e-3
        assert arm.validation["0.01"] is None
        assert f"{arm.name} diverges at 0.01: not finite any more" in found.warnings
    assert any("a at learning rate 0.01: at step 3 the loss is not finite" in line for line in said)
    assert Comparison.load(tmp_path).arms == found.arms
    assert changed(held) == set()


def test_where_every_rate_diverges_there_is_no_result(data, tmp_path, monkeypatch):
    diverging(monkeypatch, RATES)
    with pytest.raises(DivergedError, match="arm 'a' diverges at every learning rate"):
        arms(
            model_of(), data=data[0], arms={"a": Arm("1"), "b": Arm("3")}, out=tmp_path, seeds=1,
            learning_rates=RATES, **FAST,
        )  # fmt: skip
    assert not (tmp_path / "comparison.json").exists()


# What is said.


def test_what_is_unequal_is_said(compared):
    warnings = compared[0].warnings
    assert any(
        line.startswith("dead trains 0.5 times the parameters of whole") for line in warnings
    )
    assert not any(line.startswith("last trains") for line in warnings)
    assert any("whole is best at 0.01, the end of the learning rates tried" in w for w in warnings)
    assert any(line.startswith("two seeds: ") for line in warnings)


GAPS = [
    (Gap(0.3, 0.1, 0.0), "b is worse than a by 0.3 nats a token (95 % interval 0.2 to 0.4)"),
    (Gap(-0.3, 0.1, 0.0), "b is better than a by 0.3 nats a token (95 % interval -0.4 to -0.2)"),
    (Gap(0.1, 0.3, 0.0), "b is not distinguishable from a (95 % interval -0.2 to 0.4)"),
    (Gap(0.1, None, None), "b differs from a by 0.1 nats a token"),
]


@pytest.mark.parametrize(("gap", "said"), GAPS)
def test_findings(gap, said):
    found = finding([made_arm("a"), made_arm("b", gap=gap)], "a", 2, 50)
    assert found == f"{said}. Test loss over 2 seeds and 50 test rows."


def test_a_finding_of_several_arms():
    three = [made_arm("a"), made_arm("b", gap=GAPS[0][0]), made_arm("c", gap=GAPS[1][0])]
    found = finding(three, "a", 1, 7)
    assert found == f"{GAPS[0][1]}; c{GAPS[1][1][1:]}. Test loss over 1 seed and 7 test rows."


# Arms from a file, and by the names of controls.


def test_arms_from_a_file(tmp_path):
    path = tmp_path / "arms.yaml"
    path.write_text(
        "dynamics: dynamics:5\n"
        "one: 3\n"
        "several: 3,7\n"
        "list: [3, 7]\n"
        "drawn: 'random:5@{seed}'\n"
        "lora: {blocks: all, method: lora, r: 4, alpha: 2}\n"
        "rest: {blocks: first:2, complement: true, parts: 'norm, head'}\n"
        "more: {blocks: [1, 2], parts: [norm]}\n"
    )
    found = read_arms(path)
    assert list(found) == ["dynamics", "one", "several", "list", "drawn", "lora", "rest", "more"]
    assert found["dynamics"] == Arm("dynamics:5")
    assert found["one"] == Arm("3")
    assert found["several"] == found["list"] == Arm("3,7")
    assert found["drawn"] == Arm("random:5@{seed}")
    assert found["lora"] == Arm("all", method="lora", r=4, alpha=2)
    assert found["rest"] == Arm("first:2", complement=True, parts=("norm", "head"))
    assert found["more"] == Arm("1,2", parts=("norm",))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must map names of arms to their blocks"),
        ("- a\n- b", "must map names of arms"),
        ("a: [", "is not YAML"),
        ("a: {method: lora}", "arm 'a' has no blocks"),
        ("a: ", "arm 'a' has no blocks"),
        ("a: true", "arm 'a' has no blocks"),
        ("a: {blocks: 3, rank: 4}", "arm 'a' has 'rank'"),
        ("a: {blocks: 3, complement: maybe}", "arm 'a': 'maybe' makes no sense as complement"),
        ("a: {blocks: 3, r: many}", "arm 'a': 'many' makes no sense as r"),
        ("a: {blocks: 3, parts: {norm: 1}}", "arm 'a': parts are names"),
        ("a: {blocks: 3, method: 7}", "arm 'a': 7 makes no sense as method"),
    ],
)
def test_a_file_that_makes_no_sense(tmp_path, text, said):
    path = tmp_path / "arms.yaml"
    path.write_text(text)
    with pytest.raises(OptionError, match=said) as refused:
        read_arms(path)
    assert str(path) in str(refused.value)
    assert str(refused.value).isprintable()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(OptionError, match="there is no file"):
        read_arms(tmp_path / "arms.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OptionError, match="is not YAML"):
        read_arms(tmp_path / "bytes.yaml")


def test_an_arm_against_its_controls():
    own = Arm("dynamics:5", method="lora", complement=True, parts=("norm",), r=4, alpha=3.0)
    found = against_arms(own, ["random", " last"])
    assert list(found) == ["dynamics:5", "random", "last"]
    assert found["dynamics:5"] == own
    assert found["last"] == Arm("control:last", "lora", False, ("norm",), 4, 3.0)
    with pytest.raises(OptionError, match="did you mean 'random'"):
        against_arms(own, ["randon"])


# What is refused before anything is trained.


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"arms": {"a": Arm("1")}}, "two arms or more"),
        ({"seeds": 0}, "a seed and a learning rate"),
        ({"learning_rates": ()}, "a seed and a learning rate"),
        ({"learning_rates": (1e-3, -1.0)}, "learning rate must be above 0"),
        ({"arms": {"a": Arm("1"), "b": Arm("3", method="ful")}}, "did you mean 'full'"),
        ({"arms": {"a": Arm("1"), "b": Arm("7")}}, "block 7: the model has"),
        ({"arms": {"a": Arm("control:last"), "b": Arm("1")}}, "first arm cannot be a control"),
        ({"arms": {"a": Arm("2,3"), "b": Arm("control:last")}}, "it is the plan itself"),
        ({"arms": {"a": Arm("2"), "b": Arm("control:lowest")}}, "no criterion chose"),
        ({"arms": {"a": Arm("2"), "b": Arm("control:lats")}}, "did you mean 'last'"),
        ({"arms": {"a": Arm("1"), "b": Arm("0")}, "cache_prefix": True}, "block 0 is trained"),
        ({"arms": {"a": Arm("1"), "b": Arm("control:last", "lora")}}, "method lora"),
    ],
)
def test_what_makes_no_sense_is_refused_first(data, tmp_path, monkeypatch, change, said):
    seen = trainings(monkeypatch)
    monkeypatch.setattr(comparing, "measured", stop(AssertionError))
    given = {"arms": {"a": Arm("1"), "b": Arm("3")}, "learning_rates": RATES, "seeds": 2, **change}
    with pytest.raises(OptionError, match=said):
        arms(model_of(), data=data[0], out=tmp_path / "out", **FAST, **given)
    assert seen == []
    assert not (tmp_path / "out").exists()


def test_without_validation_rows_no_rate_can_be_chosen(tmp_path):
    """All of them are longer than the model reads."""
    rows = chat_rows(60)
    path = write(tmp_path / "rows.jsonl", rows)
    kept = {
        row["messages"][0]["content"] for row in tuning_data(path, n=None, test=None).validation
    }
    rows = [
        {**row, "response": row["response"] + (" x" * 70 if row["prompt"] in kept else "")}
        for row in rows
    ]
    path = write(tmp_path / "rows.jsonl", rows)
    given = {"data": path, "arms": {"a": Arm("1"), "b": Arm("3")}, "seeds": 1, **FAST}
    with pytest.raises(OptionError, match="no validation row is short enough"):
        arms(model_of(), out=tmp_path / "out", learning_rates=RATES, **given)
    found = arms(model_of(), out=tmp_path / "out", learning_rates=(1e-3,), **given)
    assert found.data["validation"] == 0
    assert found.arms[0].validation == {"0.001": None}
    assert Comparison.load(tmp_path / "out").arms == found.arms


def test_looking_first(data):
    model = planted()
    held = everything(model.module)
    lines = plan_arms(model, data=data[0], arms=ARMS, seeds=2, learning_rates=RATES, **FAST)
    assert changed(held) == set()
    assert everything(model.module).keys() == held.keys()
    assert lines[0] == "model LlamaForCausalLM: 4 blocks"
    assert lines[1].startswith("whole: full, trains 5,440 of 20,496 parameters")
    assert lines[4].startswith("adapted: lora, trains ")
    assert lines[-1] == "4 steps of 4 rows; learning rates 1e-06, 0.01; 2 seeds"
