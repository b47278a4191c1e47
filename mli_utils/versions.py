"""The version of every mechanism that makes a number, in one table.

Addresses of finished work hold these numbers, workers of a cluster must have the same table, and a golden test says so
where numbers change and none was raised. Raise a version when its mechanism gives something else for the same input.
"""

VERSIONS = {
    "data": 1,  # images, labels or their order, of the same archive
    "initialization": 1,  # θ(0), of the same config
    # θ(T), history or summary, of the same config; by model
    "training": {"fcn": 4, "vgg16": 3, "resnet18": 3},
    # The same of what came later and concerns only runs that have it: a model, a normalization, a field off its default
    "later": {"vit": 2, "layer": 1, "label_smoothing": 1, "freeze_bias": 1, "imbalance": 1},
    "interpolation": 2,  # a curve, of the same endpoints
    "adaptive": 1,  # the points at which the same curve is measured
    "starts": 1,  # the `other` or `noise` of a run
    "landscape": 1,  # a square or a prediction, of the same endpoints
    "interventions": 1,  # a curve, of the same endpoints and biases
    "neighbours": 1,  # lengths or single-layer curves, of the same endpoints
    "pictures": 1,  # predictions for images, of the same endpoints
}
