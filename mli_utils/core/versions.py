"""Versions of all mechanisms that produce numbers.

Store addresses contain these versions, workers of a cluster must have the same ones, and a golden test fails if numbers
change but no version does. Raise a version when its mechanism gives another result for the same input.
"""

VERSIONS: dict = {
    "data": 1,  # images, labels or their order, given the archive
    "initialization": 1,  # θ(0), given the config
    "training": {"fcn": 4, "vgg16": 3, "resnet18": 3, "vit": 2},  # θ(T), history or summary, by model
    "curves": 2,  # loss and error, given the endpoints
    "starts": 1,  # starting points `other` and `noise`
    "weights_and_biases": 1,  # squares, given the endpoints
    "law": 1,  # predicted curves, given the endpoints
    "bias_gap": 1,  # flows and surveys, given the parameters
    "hardness": 1,  # races of learning rates and linearised networks, given the configs
    "bias_ablation": 1,  # predictions for images, given the endpoints
    "interventions": 1,  # curves, given the endpoints and biases
    "budgets": 1,  # pull, intrusions and clocks, given the config and the design of the images
    "neighbours": 1,  # lengths and single-layer curves, given the endpoints
}
