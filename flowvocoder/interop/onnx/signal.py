"""What the stages of an exported post-filter know of a signal."""

from flowvocoder.interop.onnx.graph import Graph, whole


class Signal:
    """What is known of a signal: its mel (B, n_mels, F), and the frames of each item, (B, 1)."""

    def __init__(self, graph: Graph, mel: str, length: str):
        self.graph, self.length = graph, length
        self.mel = graph("Transpose", mel, perm=[0, 2, 1])
        self.frames = graph("Squeeze", graph("Shape", mel, start=2, end=3), whole(0))

    def places(self, per_frame: int) -> str:
        """Numbers from 0 on, `per_frame` a frame."""
        end = self.graph("Mul", self.frames, whole(per_frame)[0])
        return self.graph("Range", whole(0)[0], end, whole(1)[0])

    def inside(self, per_frame: int) -> str:
        """1 up to the end of each item, 0 after it, `per_frame` a frame: (B, F * per_frame)."""
        end = self.graph("Mul", self.length, whole(per_frame))
        return self.mask(self.graph("Less", self.places(per_frame), end))

    def mask(self, condition: str) -> str:
        """0 or 1 in float32."""
        return self.graph("Cast", condition, to=1)

    def up_to_last(self, x: str, places: str) -> str:
        """Frames (B, F, C) at places (J,), at most the last of each item: (B, J, C)."""
        graph = self.graph
        place = graph("Unsqueeze", graph("Min", places, graph("Sub", self.length, whole(1))), whole(2))
        size = graph("Shape", x, start=2, end=3)
        index = graph("Expand", place, graph("Concat", graph("Shape", place, start=0, end=2), size, axis=0))
        return graph("GatherElements", x, index, axis=1)
