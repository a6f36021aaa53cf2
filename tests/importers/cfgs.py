"""Small .cfg files that hold every layer edgedet reads."""


def _conv(filters: int, size: int, activation: str, **more: int) -> str:
    """A padded convolution with batch norm."""
    options = {"batch_normalize": 1, "filters": filters, "size": size, **more, "pad": 1, "activation": activation}
    return "\n".join(["[convolutional]", *(f"{name}={value}" for name, value in options.items())])


YOLO = f"""[net]
# a comment
batch=1
width=96
height=64
channels=3

{_conv(8, 3, "leaky", stride=2)}

{_conv(8, 3, "relu6", stride=1, groups=8)}

[route]
layers=-1
groups=2
group_id=1

[convolutional]
filters=4
size=1
pad=1
activation=relu

[route]
layers=-1,-3

[maxpool]
size=2
stride=2

{_conv(12, 3, "mish", stride=2)}

[convolutional]
batch_normalize=1
filters=12
size=1
activation=swish

[shortcut]
from=-2
activation=linear

[maxpool]
size=2
stride=1

[maxpool]
size=5
stride=1

{_conv(16, 3, "logistic", stride=2)}

[convolutional]
filters=16
size=1
pad=1
activation=linear

[yolo]
mask=2,3
anchors=5,8, 12,10, 20,30, 44,40
classes=3
num=4
scale_x_y=1.2
nms_kind=greedynms

[route]
layers=-3

[upsample]
stride=2

[route]
layers=-1,8

[convolutional]
size=1
filters=16
activation=linear

[yolo]
mask=1,0
anchors=5,8, 12,10, 20,30, 44,40
classes=3
num=4
"""

REGION = f"""[net]
width=64
height=64
channels=3

{_conv(8, 3, "leaky", stride=4)}

{_conv(8, 3, "leaky", stride=4)}

{_conv(12, 3, "leaky", stride=2)}

[route]
layers=1

[reorg]
stride=2

[route]
layers=-1,2

[convolutional]
size=1
stride=1
pad=1
filters=14
activation=linear

[region]
anchors=0.6,0.7, 1.5,1.2
bias_match=1
classes=2
coords=4
num=2
softmax=1
"""
