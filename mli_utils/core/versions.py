"""The version of every mechanism that makes a number, in one table.

Addresses of finished work hold these numbers, workers of a cluster must have the same table, and a golden test says so
where numbers change and none was raised. Raise a version when its mechanism gives something else for the same input.
"""

VERSIONS: dict = {
    "data": 1,  # images, labels or their order, of the same archive
    "initialization": 1,  # θ(0), of the same config
    "training": {"fcn": 4, "vgg16": 3, "resnet18": 3, "vit": 2},  # θ(T), history or summary, by model
    "curves": 2,  # loss and error, of the same endpoints
    "starts": 1,  # the `other` or `noise` of a run
    "weights_and_biases": 1,  # a square or a prediction, of the same endpoints
    "bias_gap": 1,  # a flow or a survey, of the same parameters
    "bias_ablation": 1,  # predictions for images, of the same endpoints
    "interventions": 1,  # a curve, of the same endpoints and biases
    "neighbours": 1,  # lengths or single-layer curves, of the same endpoints
}
