"""What every system over one text encoder says of a text: its word pieces, and what is beyond the limit."""

from __future__ import annotations

from abc import abstractmethod

from torch import nn

from avebench.nn.neural import Encoded, NeuralModel, parameters_by_home
from avebench.nn.text_encoder import TextEncoder
from avebench.nn.unit_pieces import EncodedText


class EncoderModel(NeuralModel):
    """A system with a `text_encoder`, whose word pieces decide about lengths and limits."""

    text_encoder: TextEncoder

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the encoder's parameters as `text_encoder` and all others as `default`."""
        return parameters_by_home(self, {"text_encoder.": "text_encoder"})

    @abstractmethod
    def pieces(self, encoded: Encoded) -> EncodedText:
        """Return the word pieces of an encoded example."""

    def length(self, encoded: Encoded) -> int:
        """Return the number of word pieces."""
        return self.pieces(encoded).pieces

    def truncated(self, encoded: Encoded) -> int:
        """Return the number of units beyond the encoder's limit; they are tagged O."""
        return self.pieces(encoded).truncated

    def beyond(self, encoded: Encoded) -> int:
        """Return the number of units beyond the encoder's limit, read in further windows or not."""
        return self.pieces(encoded).beyond

    def text_limit(self) -> int:
        """Return the word pieces that are read at once, beside those of a picture."""
        return self.text_encoder.limit
