"""Losses and counts of stacks, against PyTorch's own; what subnormal numbers are."""

import pytest
import torch

from mli_utils.core.evaluation import plain_float32, sum_metrics


def test_anatomy_counts_samples_and_sums_losses():
    logits = torch.tensor([[[2.0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 3]], [[0.0, 9, 0]] * 4])
    labels = torch.tensor([0, 0, 0, 2])
    sums = sum_metrics(logits, labels)
    assert sums["wrong"].tolist() == [[1, 0, 0], [3, 0, 1]]  # of equal logits the first class is predicted
    assert sums["predicted"].tolist() == [[2, 1, 1], [0, 4, 0]]
    assert sums["loss"].dtype == torch.float64
    each = torch.nn.functional.cross_entropy(logits[0], labels, reduction="sum")
    assert sums["loss"][0].item() == pytest.approx(each.item())


def test_of_equal_logits_the_first_class_is_the_prediction():
    for stack, samples in ((1, 5), (3, 1000)):
        sums = sum_metrics(torch.zeros(stack, samples, 10), torch.arange(samples) % 10)
        assert sums["predicted"][:, 0].tolist() == [samples] * stack


def test_subnormal_numbers_are_zero_inside_and_what_they_were_outside():
    tiny = torch.tensor([1e-40])
    assert tiny.mul(1).item() > 0
    with plain_float32():
        assert tiny.mul(1).item() == 0
        with plain_float32():
            pass
        assert tiny.mul(1).item() == 0
    assert tiny.mul(1).item() > 0


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_products_are_float32_inside_and_what_they_were_outside(precision):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        with plain_float32():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)
