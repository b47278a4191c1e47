"""Benchmarks at sizes at which they say nothing: that they run, do the same work, and are told rightly."""

import json

import numpy as np
from torch.utils.data import DataLoader, TensorDataset

import mli_utils as mli
from benchmarks import __main__ as command_line
from benchmarks import convolutions, curves, limits, measure, training
from mli_utils.book import record
from mli_utils.runs import settings
from mli_utils.sections import speed


def test_medians_ratios_and_spread():
    seconds = iter([1.0, 2.0, 0.5, 2.0, 8.0, 1.0, 1.0, 3.0, 0.9])
    (row,) = measure.compare("a", "b", lambda: next(seconds), {"c": lambda: next(seconds)}, lambda: next(seconds), 3)
    assert (row["seconds"], row["ratio"], row["low"], row["high"]) == (1.0, 3.0, 2.0, 4.0)
    assert row["limit_share"] == 0.5 and row["alternative_seconds"] == 3.0 and row["alternative"] == "c"


def test_products_are_counted_from_shapes():
    config = mli.RunConfig(depth=3, width=5)
    assert limits.layer_sizes(config) == [(64, 5), (5, 5), (5, 10)]
    forward = 2 * 7 * (64 * 5 + 5 * 5 + 5 * 10)
    assert limits.flops(limits.of_evaluation(config, 4, 7)) == 4 * forward
    assert limits.flops(limits.of_evaluation(config, 4, 7, on_a_line=True)) == (
        4 * (forward - 2 * 7 * 64 * 5) + 2 * 2 * 7 * 64 * 5
    )
    assert limits.flops(limits.of_step(config, 4, 7)) == 4 * (3 * forward - 2 * 7 * 64 * 5)
    assert limits.seconds(limits.of_step(config, 2, 7)) > 0
    configs = training.networks(2, epochs=1)
    assert limits.flops(training.products(configs)) > limits.flops(limits.of_step(configs[0], 2, 128)) * 10
    first = {product: times for product, times in curves.products(config, 9, 1000).items() if product[0] == 1}
    assert first[1, 1000, 64, 5] == 2


def test_the_alternatives_train():
    configs = [config.replace(n_train=256) for config in training.networks(2, epochs=1)]
    training.textbook(configs)
    training.vmapped(configs)
    convolutions.grouped(convolutions.networks(2, width=2, epochs=1))
    convolutions.contiguous(convolutions.networks(1, width=2, epochs=1))
    convolutions.in_turn(convolutions.networks(1, width=2, epochs=1))


def test_operations_of_convolutions_are_counted_from_shapes():
    (config,) = convolutions.networks(1, width=4, epochs=1)
    weights = [parameter for parameter in mli.build(config).parameters() if parameter.ndim == 4]
    sides = [32, 32, 16, 16, 8, 8, 8, 4, 4, 4, 2, 2, 2]
    forward = sum(2 * weight.numel() * side**2 for weight, side in zip(weights, sides, strict=True))
    first, last = 2 * weights[0].numel() * 32**2, 2 * 32 * 10
    assert convolutions.operations(config) == config.n_train * (3 * (forward + last) - first)


def test_curves_are_the_textbook_s(tmp_path):
    config = mli.RunConfig(depth=10, width=32, init_scale=0.6)
    start, end = curves.ends(config.replace(epochs=20))
    digits = mli.load_data("digits")
    loader = DataLoader(TensorDataset(digits.images, digits.labels), 500)
    off = curves.check(config, np.linspace(0, 1, 6), start, end, loader)
    assert off["loss"] < 1e-6 and off["wrong"] == 0


def test_the_law_is_measured_beside_the_evaluation(monkeypatch):
    monkeypatch.setattr(curves, "network", lambda: mli.RunConfig(depth=3, width=16))
    monkeypatch.setattr(curves, "ends", lambda config: [dict(mli.build(config).named_parameters())] * 2)
    rows = curves.law(1, 3)
    assert [(row["name"], row["alternative"]) for row in rows] == [("law", "measuring it on digits")] * 2


def test_bench_leaves_rows_for_the_page(monkeypatch, capsys):
    fake = lambda rounds: measure.compare("train_fcn", "small", lambda: 1.0, {"other": lambda: 2.0}, None, rounds)  # noqa: E731
    other = lambda rounds: [{**row, "name": "curve_fcn"} for row in fake(rounds)]  # noqa: E731
    monkeypatch.setattr(command_line, "BENCHES", {"train_fcn": fake, "curve_fcn": other})
    assert command_line.main(["train_fnc"]) == 2
    assert "unknown benchmark 'train_fnc' (did you mean 'train_fcn'?)" in capsys.readouterr().err
    assert not settings.bench_file().exists()
    assert command_line.main(["curve_fcn", "--rounds", "1"]) == 0
    assert command_line.main(["train_fcn", "--rounds", "1"]) == 0
    row, kept = json.loads(settings.bench_file().read_text(encoding="utf-8"))
    assert {"name", "seconds", "alternative", "ratio", "limit_share"} <= row.keys() and row["machine"]
    assert (row["name"], kept["name"]) == ("train_fcn", "curve_fcn")  # in their order; what was not run again stays
    assert speed.benchmarks().ratio.tolist() == [2.0, 2.0]


def test_the_record_keeps_benchmarks_that_were_not_run_again():
    def write(path, **seconds):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([{"name": name, "seconds": taken} for name, taken in seconds.items()]))

    own, recorded = settings.bench_file(), settings.bench_record()
    record.record_benchmarks()
    assert not recorded.exists()
    write(recorded, train_fcn=1, curve_fcn=1)
    write(own, train_fcn=2)
    record.record_benchmarks()
    assert [row["seconds"] for row in json.loads(recorded.read_text(encoding="utf-8"))] == [1, 1]
    write(own, train_fcn=2, curve_fcn=2, cluster=2)
    record.record_benchmarks()
    assert recorded.read_text(encoding="utf-8") == own.read_text(encoding="utf-8")
