"""The page on networks of one's own: checkpoints as a tutorial saves them, and diagnoses from the store."""

import pytest
import torch

import mli_utils as mli
from mli_utils.sections import your_own_network as section

SETTINGS = {"plain CNN": {"n": 60, "lr": 0.05, "epochs": 1}, "ResNet-18": {"n": 60, "lr": 0.02, "epochs": 1}}
SEEDS = {"plain CNN": [0, 1], "ResNet-18": [0]}


def test_checkpoints_are_those_of_the_seed(tmp_path):
    model, start, end = section.train("plain CNN", 0, 100, 0.05, 1, tmp_path)
    torch.manual_seed(0)
    fresh = section.plain_cnn().state_dict()
    before, after = (torch.load(path, weights_only=True) for path in (start, end))
    assert all(torch.equal(before[name], value) for name, value in fresh.items())
    assert all(torch.equal(after[name], value) for name, value in model.state_dict().items())
    again = section.train("plain CNN", 0, 100, 0.05, 1, tmp_path)[0].state_dict()
    assert all(torch.equal(after[name], value) for name, value in again.items())
    with pytest.raises(mli.InputError, match="unknown network 'CNN'"):
        section.train("CNN", 0, 100, 0.05, 1, tmp_path)


def test_diagnoses_are_kept_and_their_numbers_reach_the_text(monkeypatch):
    curves = section.compared(section.diagnosed(SETTINGS, SEEDS, 3))
    monkeypatch.setattr(section, "train", None)  # the second time they come from the store
    again = section.compared(section.diagnosed(SETTINGS, SEEDS, 3))
    assert curves.equals(again)
    paths = {name: of_network.path.nunique() for name, of_network in curves.groupby("network")}
    assert paths == {"plain CNN": 4, "ResNet-18": 3}  # shortcuts have no homogeneous path
    found = section.numbers(curves, mli.plateau(curves))
    assert found["plain CNN/first_share"] == 1 and 0 < found["ResNet-18/bias_gap"] < 1
    assert "(" in found["plain CNN/homogeneous/error_plateau"]


def test_a_diagnosis_has_the_same_bits_on_any_number_of_threads(monkeypatch, tmp_path):
    before, found = torch.get_num_threads(), []
    for number in (1, 2):
        monkeypatch.setenv("MLI_STORE", str(tmp_path / str(number)))
        torch.set_num_threads(number)
        try:
            found.append(section.diagnosed(SETTINGS, {"plain CNN": [0], "ResNet-18": [0]}, 3))
            assert torch.get_num_threads() == number
        finally:
            torch.set_num_threads(before)
    assert found[0].equals(found[1])


def test_groups_are_counted():
    counted = section.groups().set_index(["network", "group"])
    assert counted.tensors["plain CNN"].to_dict() == {"weights": 7, "hidden biases": 6, "output bias": 1}
    assert counted.numbers["ResNet-18"].sum() == sum(value.numel() for value in section.resnet().parameters())
    assert counted.layers["ResNet-18", "weights"] == "1–18"
