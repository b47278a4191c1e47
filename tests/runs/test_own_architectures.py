"""Architectures of other libraries, randomly initialised: the groups that an expert would name, and finite curves."""

import copy
import os
import re

import numpy as np
import pytest
import torch
from torch import nn

os.environ["HF_HUB_OFFLINE"] = "1"

import mli_utils as mli

CLASSES = 4
IMAGES = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(8) % CLASSES
TOKENS = torch.arange(56).view(8, 7) % 19


def torchvision(name, **given):
    from torchvision import models

    return getattr(models, name)(num_classes=CLASSES, **given), IMAGES


def vgg():
    from torchvision.models import vgg

    small = [part if part == "M" else part // 8 for part in vgg.cfgs["A"]]
    model = vgg.VGG(vgg.make_layers(small, batch_norm=True), CLASSES)
    model.avgpool, model.classifier = (
        nn.AdaptiveAvgPool2d(1),
        nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 4)),
    )
    return model, IMAGES


def vit():
    """Of torchvision's ViT-B/16 all layers, each a thirty-second as wide."""
    from torchvision.models import VisionTransformer

    return VisionTransformer(32, 16, num_layers=12, num_heads=3, hidden_dim=24, mlp_dim=96, num_classes=CLASSES), IMAGES


def convnext():
    """Of torchvision's ConvNeXt-T all blocks, each an eighth as wide."""
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    blocks = [CNBlockConfig(*sizes) for sizes in ((12, 24, 3), (24, 48, 3), (48, 96, 9), (96, None, 3))]
    return ConvNeXt(blocks, stochastic_depth_prob=0.1, num_classes=CLASSES), IMAGES


def timm(name, **given):
    import timm

    return timm.create_model(name, num_classes=CLASSES, **given), IMAGES


def bert():
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=20, num_labels=CLASSES, max_position_embeddings=10, **sizes)
    words = {"input_ids": TOKENS, "attention_mask": torch.ones_like(TOKENS), "labels": IMAGES[1]}
    return BertForSequenceClassification(config), words


def resnet_of_hugging_face():
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=CLASSES, layer_type="basic")
    return ResNetForImageClassification(config), {"pixel_values": IMAGES[0], "labels": IMAGES[1]}


class Recurrent(nn.Module):
    """Words, an LSTM of two layers, a head."""

    def __init__(self):
        super().__init__()
        self.words, self.lstm = nn.Embedding(20, 6), nn.LSTM(6, 5, num_layers=2, batch_first=True)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, tokens):
        return self.head(self.lstm(self.words(tokens))[0][:, -1])


class Autoencoder(nn.Module):
    """A decoder with the encoder's weights."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(12, 5), nn.Linear(5, 12)
        self.scale = nn.PReLU(5)
        del self.decoder.weight

    def forward(self, x):
        return nn.functional.linear(self.scale(self.encoder(x)), self.encoder.weight.T, self.decoder.bias)


def autoencoder():
    pictures = torch.rand(8, 12, generator=torch.Generator().manual_seed(0))
    return Autoencoder(), (pictures, pictures)


# Each architecture: how it is made, the groups by pattern of the name (the first that matches), layers of some
# parameters, and whether layers have numbers that every way through the network agrees on.
EXPERT = {
    "torchvision resnet18": (
        lambda: torchvision("resnet18"),
        {r"bn|downsample\.1": "normalization", r"fc\.bias": "output_bias", "weight": "weights"},
        {"conv1.weight": 1, "layer2.0.downsample.0.weight": 6, "layer2.0.conv2.weight": 7, "fc.bias": 18},
        False,
    ),
    "torchvision vgg11_bn": (
        vgg,
        {
            r"features\.(1|5|9|12|16|19|23|26)\.": "normalization",
            r"classifier\.2\.bias": "output_bias",
            "bias": "hidden_biases",
            "weight": "weights",
        },
        {"features.0.weight": 1, "features.25.bias": 8, "classifier.0.bias": 9, "classifier.2.bias": 10},
        True,
    ),
    "torchvision mobilenet_v3_small": (
        lambda: torchvision("mobilenet_v3_small"),
        {
            r"block\.\d\.1\.|features\.\d+\.1\.": "normalization",
            r"classifier\.3\.bias": "output_bias",
            "bias": "hidden_biases",
            "weight": "weights",
        },
        {"features.0.0.weight": 1, "features.1.block.1.fc1.bias": 3, "classifier.3.bias": 54},
        False,
    ),
    "torchvision densenet121": (
        lambda: torchvision("densenet121"),
        {"norm": "normalization", "classifier.bias": "output_bias", "weight": "weights"},
        {"features.conv0.weight": 1, "features.denseblock1.denselayer2.conv1.weight": 4, "classifier.bias": 121},
        False,
    ),
    "torchvision vit_b_16": (
        vit,
        {
            r"\.ln": "normalization",
            r"class_token|pos_embedding": "embeddings",
            r"heads\.head\.bias": "output_bias",
            "bias": "hidden_biases",
            "weight": "weights",
        },
        {"conv_proj.bias": 1, "encoder.layers.encoder_layer_0.self_attention.out_proj.bias": 3, "heads.head.bias": 50},
        False,
    ),
    "torchvision convnext_tiny": (
        convnext,
        {
            r"layer_scale|features\.0\.1|block\.2|features\.[246]\.0|classifier\.0": "normalization",
            r"classifier\.2\.bias": "output_bias",
            "bias": "hidden_biases",
            "weight": "weights",
        },
        {
            "features.0.0.bias": 1,
            "features.1.0.block.5.bias": 4,
            "features.1.0.layer_scale": 4,
            "classifier.2.bias": 59,
        },
        False,
    ),
    "timm resnet": (
        lambda: timm("resnet10t"),
        {
            r"bn\d|conv1\.[14]|downsample\.2": "normalization",
            r"fc\.bias": "output_bias",
            "weight": "weights",
        },
        {"conv1.0.weight": 1, "conv1.6.weight": 3, "fc.bias": 12},
        False,
    ),
    "timm vit": (
        lambda: timm("vit_tiny_patch16_224", img_size=32, depth=2, embed_dim=24, init_values=0.1),
        {
            r"norm|gamma": "normalization",
            r"cls_token|pos_embed": "embeddings",
            r"^head\.bias": "output_bias",
            "bias": "hidden_biases",
            "weight": "weights",
        },
        {"patch_embed.proj.bias": 1, "blocks.0.attn.qkv.weight": 2, "blocks.0.ls2.gamma": 5, "head.bias": 10},
        False,
    ),
    "Hugging Face bert": (
        bert,
        {
            "LayerNorm": "normalization",
            "embeddings": "embeddings",
            r"^classifier\.bias": "output_bias",
            "bias": "hidden_biases",
            "weight": "weights",
        },
        {
            "bert.embeddings.word_embeddings.weight": 1,
            "bert.encoder.layer.0.attention.self.value.bias": 2,
            "bert.pooler.dense.bias": 10,
            "classifier.bias": 11,
        },
        False,
    ),
    "Hugging Face resnet": (
        resnet_of_hugging_face,
        {"normalization": "normalization", r"classifier\.1\.bias": "output_bias", "weight": "weights"},
        {"resnet.embedder.embedder.convolution.weight": 1, "classifier.1.bias": 6},
        False,
    ),
    "lstm": (
        lambda: (Recurrent(), (TOKENS, IMAGES[1])),
        {"words": "embeddings", r"head\.bias": "output_bias", "bias": "hidden_biases", "weight": "weights"},
        {"words.weight": 1},
        False,
    ),
    "tied autoencoder": (
        autoencoder,
        {r"decoder\.bias": "output_bias", "bias": "hidden_biases", "weight": "weights"},
        {"encoder.bias": 1, "decoder.bias": 2},
        True,
    ),
}


@pytest.mark.parametrize("name", EXPERT)
def test_groups_are_an_expert_s_and_curves_are_finite(name):
    make, patterns, layers, numbered = EXPERT[name]
    torch.manual_seed(0)
    model, data = make()
    table = mli.parameter_table(model, data).set_index("name")
    assert table.index.tolist() == [name for name, _ in model.named_parameters()]
    expected = {
        name: next(group for pattern, group in patterns.items() if re.search(pattern, name)) for name in table.index
    }
    assert table.group.to_dict() == expected
    assert {name: table.layer[name] for name in layers} == layers
    end = copy.deepcopy(model.state_dict())
    for parameter in dict(model.named_parameters()):
        end[parameter] = end[parameter] + 0.05 * torch.randn_like(end[parameter])
    loss = "mse" if name == "tied autoencoder" else "cross_entropy"
    curve = mli.interpolate_model(model, copy.deepcopy(model), end, data, alphas=3, loss=loss, by_class=loss != "mse")
    assert np.isfinite(curve.loss).all() and curve.loss.nunique() == 3
    if numbered:
        mli.interpolate_model(model, model, end, data, "homogeneous", 2, loss=loss)
    else:
        with pytest.raises(mli.InputError, match="no homogeneous path"):
            mli.interpolate_model(model, model, end, data, "homogeneous", 2)
    if loss != "mse":
        mli.diagnose(model, model, end, data, 2)
