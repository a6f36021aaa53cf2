"""Batch norm folded into the convolution before it, and back: a network in both shapes computes the same."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """Fold each batch norm into the convolution before it, in place, wherever a Sequential holds the two in a row."""
    for parent, first, second in _pairs(model):
        conv, norm = parent._modules[first], parent._modules[second]
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        folded = fuse_conv_bn_eval(conv, norm)
        assert folded.bias is not None
        folded.bias.requires_grad_(folded.weight.requires_grad)  # torch leaves a bias that it adds without gradient
        parent._modules[first] = folded
        parent._modules[second] = nn.Identity()
    return model


@torch.no_grad()
def unfold_batch_norm(folded: nn.Module, network: nn.Module) -> nn.Module:
    """Give `network` the weights of `folded`, in place: its batch norms become ones that only add the bias.

    Such a norm has mean 0, variance 1, and a factor that cancels its eps, so that folding it again gives the weights of
    `folded` but for the last bit.

    Args:
        folded: what `fold_batch_norm` made of a network of the same kind, and whatever training made of that. Layers
            that were added to it are left out.
        network: with batch norms. No two of its layers may share a convolution that has a norm.
    """
    sources = dict(folded.named_modules())
    norm_of = {id(parent._modules[first]): parent._modules[second] for parent, first, second in _pairs(network)}
    norms = {id(norm) for norm in norm_of.values()}
    for name, target in network.named_modules():
        if id(target) in norms:
            continue
        norm = norm_of.get(id(target))
        for key, tensor in (*target._parameters.items(), *target._buffers.items()):
            if tensor is not None and not (norm and key == "bias"):
                tensor.copy_(getattr(sources[name], key))
        if isinstance(norm, nn.BatchNorm2d):
            if isinstance(target.bias, nn.Parameter):
                target.bias.zero_()
            _only_add(norm, sources[name].bias)
    return network


def _only_add(norm: nn.BatchNorm2d, bias: torch.Tensor) -> None:
    """Make a norm in eval mode add `bias` and nothing else."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.zero_()
    norm.running_var.fill_(1.0)
    norm.weight.fill_((1.0 + norm.eps) ** 0.5)
    norm.bias.copy_(bias)


def _pairs(model: nn.Module) -> Iterator[tuple[nn.Sequential, str, str]]:
    """Each Sequential and the names of a convolution and the batch norm right after it."""
    for parent in list(model.modules()):
        if not isinstance(parent, nn.Sequential):
            continue
        for first, second in pairwise(list(parent._modules)):
            conv, norm = parent._modules[first], parent._modules[second]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                yield parent, first, second
