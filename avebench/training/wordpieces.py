"""Learning a vocabulary of word pieces, the same one in every run.

It is the algorithm of the `tokenizers` library's WordPieceTrainer: byte-pair merges by count (Sennrich et al. 2016)
with BERT's continuation mark. That trainer walks over hash tables in random order, so that ties fall differently from
run to run; here ties are settled by the spelling of the pieces.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, ByteLevel

from avebench.files.errors import AvebenchError

Pair = tuple[str, str]
"""Two neighbouring pieces."""
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CONTINUES = "##"
"""Mark of a piece that continues a word."""
ALPHABET = "".join(chr(code) for code in range(33, 127) if not chr(code).isupper())
"""Characters that are always pieces, whether the texts hold them or not: what lower-cased English is written with."""


def words(texts: Iterable[str]) -> Iterator[str]:
    """Yield the words of `texts` as an uncased BERT sees them: lower case, no accents, punctuation by itself."""
    normalizer, splitter = BertNormalizer(lowercase=True), BertPreTokenizer()
    for text in texts:
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)):
            yield word


def learn_pieces(texts: Iterable[str], size: int, min_count: int = 2) -> list[str]:
    """Return at most `size` pieces in the order of their ids: special symbols, characters, merges as they are made.

    The most frequent pair of neighbouring pieces is merged first, of equally frequent ones the pair that sorts first,
    until `size` is reached or no pair occurs `min_count` times. AvebenchError if the characters alone exceed `size`.
    """
    counts = Counter(words(texts))
    spelled = {word: [word[0], *(CONTINUES + letter for letter in word[1:])] for word in sorted(counts)}
    alphabet = {piece for letter in ALPHABET for piece in (letter, CONTINUES + letter)}.union(*spelled.values())
    pieces = dict.fromkeys([*SPECIAL, *sorted(alphabet)])
    if len(pieces) > size:
        raise AvebenchError(
            f"The texts are written with {len(pieces) - len(SPECIAL)} single pieces; a vocabulary of {size} is too "
            "small."
        )
    _merges(counts, spelled, pieces, size, min_count, CONTINUES)
    return list(pieces)


def learn_byte_pairs(
    texts: Iterable[str], special: Sequence[str], size: int, min_count: int = 2
) -> tuple[list[str], list[Pair]]:
    """Return at most `size` pieces in the order of their ids, and the merges that make them, in order.

    The pieces are `special` symbols, the characters that stand for the 256 bytes (GPT-2), and merges by the rule of
    `learn_pieces`, so that any text can be written with them; a word holds the white space before it.
    """
    splitter = ByteLevel(add_prefix_space=True)
    counts = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(text))
    spelled = {word: list(word) for word in sorted(counts)}
    pieces = dict.fromkeys([*special, *sorted(ByteLevel.alphabet())])
    made = _merges(counts, spelled, pieces, size, min_count, "")
    return list(pieces), made


def _merges(
    counts: Mapping[str, int],
    spelled: dict[str, list[str]],
    pieces: dict[str, None],
    size: int,
    min_count: int,
    mark: str,
) -> list[Pair]:
    """Merge the pieces of words, which occur `counts` times, in place; return the merges, whose pieces are added.

    Before a piece that continues a word stands `mark`.
    """
    made: list[Pair] = []
    pairs: Counter[Pair] = Counter()
    homes: defaultdict[Pair, set[str]] = defaultdict(set)
    for word, parts in spelled.items():
        for pair in pairwise(parts):
            pairs[pair] += counts[word]
            homes[pair].add(word)
    while len(pieces) < size and pairs:
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        if pairs[best] < min_count:
            break
        for word in homes.pop(best):
            merged = _merge(spelled[word], best, mark)
            for pair in pairwise(spelled[word]):
                pairs[pair] -= counts[word]
            for pair in pairwise(merged):
                pairs[pair] += counts[word]
                homes[pair].add(word)
            spelled[word] = merged
        pairs.pop(best)
        pieces[best[0] + best[1].removeprefix(mark)] = None
        made.append(best)
    return made


def _merge(parts: list[str], pair: Pair, mark: str) -> list[str]:
    """Return `parts` with every occurrence of `pair`, from the left, as one piece."""
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part.removeprefix(mark)
        else:
            merged.append(part)
    return merged
