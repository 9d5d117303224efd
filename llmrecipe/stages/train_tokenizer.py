"""The training rows -> a tokenizer folder that Transformers and vLLM load."""

import json
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from llmrecipe.plan import TrainTokenizer
from llmrecipe.stages.place import Place, StageError
from llmrecipe.stages.rows.shards import read_rows
from llmrecipe.vocabulary import Head, TrainedTokenizer

END_OF_TEXT = "<|endoftext|>"
"""Ends every text and stops generation. Turns of a conversation end with the template's own token."""
PAD = "<|pad|>"
"""Never the end of a text: a trainer that leaves out padding from the loss would leave out the end as well."""
UNKNOWN = "<|unk|>"
PREFIX = "##"
"""Marks a piece that continues a word of `wordpiece`."""
CHATML = ("<|im_start|>", "<|im_end|>")
ENCODER = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
"""Special tokens of a masked language model, by their roles: filling, the two ends of a text, what hides a token."""

WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How `bpe` cuts text before it merges: words with the blank before them, single digits, runs of symbols.

It is Qwen2's, so that programs that know a few ways of cutting know this one. Source: https://arxiv.org/abs/2309.16609
"""

UNIGRAM_CHARACTERS = 10_000_000
"""`unigram` learns from at most so many characters, evenly spread over the rows: it needs 7 s for each million."""
UNIGRAM_DECIMALS = 6
UNIGRAM_STEP = 0.0001
"""How far apart the trainer puts the scores of characters that it keeps for no other reason than that they occur."""


def run(spec: TrainTokenizer, place: Place) -> dict[str, float]:
    """Fill `tokenizer/`: `tokenizer.json`, `tokenizer_config.json`, `chat_template.jinja`. Equal rows give equal bytes.

    A text with fewer pairs than `vocab_size` asks for gives a smaller vocabulary; the metrics tell both sizes.

    Raises:
        StageError: the vocabulary cannot hold what the tokenizer needs in any case.
    """
    options = spec.tokenizer
    specials = _special_tokens(spec)
    tokenizer = ALGORITHMS[options.algorithm](options, specials, place.inputs["rows"] / "train")
    size = tokenizer.get_vocab_size()
    if size > options.vocab_size:
        raise _too_small(options, size)
    tokenizer.post_processor = _ends(spec.head, specials)
    _write(place.output / "tokenizer", tokenizer, specials, spec)
    return {"vocab_size": size, "vocab_size_asked": options.vocab_size, "special_tokens": len(specials)}


def _ends(head: Head, specials: list[str]) -> processors.TemplateProcessing:
    """What is put around a text: the two ends that a masked language model knows, or nothing."""
    if head != "masked":
        return processors.TemplateProcessing(single="$A:0", pair="$A:0 $B:1", special_tokens=[])
    begin, end = ENCODER["cls_token"], ENCODER["sep_token"]
    return processors.TemplateProcessing(
        single=f"{begin}:0 $A:0 {end}:0",
        pair=f"{begin}:0 $A:0 {end}:0 $B:1 {end}:1",
        special_tokens=[(token, specials.index(token)) for token in (begin, end)],
    )


def _bpe(options: TrainedTokenizer, specials: list[str], folder: Path) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(WORDS), "isolated"), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if options.vocab_size < len(specials) + len(alphabet):
        raise _too_small(options, len(specials) + len(alphabet))
    trainer = trainers.BpeTrainer(
        vocab_size=options.vocab_size,
        min_frequency=options.min_frequency,
        special_tokens=specials,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(folder), trainer)
    return tokenizer


def _wordpiece(options: TrainedTokenizer, specials: list[str], folder: Path) -> Tokenizer:
    alphabet = _alphabet(_count(folder), options.limit_alphabet)
    # Announced in full: the trainer would number them as it meets them, and it meets words in no fixed order.
    continuing = [PREFIX + character for character in alphabet if not _stands_alone(character)]
    tokenizer = Tokenizer(models.WordPiece())
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=options.vocab_size,
        min_frequency=options.min_frequency,
        special_tokens=[*specials, *continuing],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        continuing_subword_prefix=PREFIX,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(folder), trainer)
    trained = Tokenizer(models.WordPiece(tokenizer.get_vocab(), unk_token=UNKNOWN, continuing_subword_prefix=PREFIX))
    trained.pre_tokenizer = tokenizer.pre_tokenizer
    trained.decoder = decoders.WordPiece(prefix=PREFIX, cleanup=False)
    trained.add_special_tokens(specials)
    return trained


def _unigram(options: TrainedTokenizer, specials: list[str], folder: Path) -> Tokenizer:
    characters = _count(folder)
    needed = len(specials) + len(_alphabet(characters, options.limit_alphabet))
    if options.vocab_size < needed:
        raise _too_small(options, needed)
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    trainer = trainers.UnigramTrainer(
        vocab_size=options.vocab_size, special_tokens=specials, unk_token=UNKNOWN, show_progress=False
    )
    tokenizer.train_from_iterator(_restrict(_texts(folder), characters, options.limit_alphabet), trainer)
    vocabulary = json.loads(tokenizer.to_str())["model"]["vocab"]
    trained = Tokenizer(models.Unigram(_canonical(vocabulary, specials), unk_id=specials.index(UNKNOWN)))
    trained.pre_tokenizer = tokenizer.pre_tokenizer
    trained.decoder = decoders.Metaspace(prepend_scheme="never")
    trained.add_special_tokens(specials)
    return trained


ALGORITHMS = {"bpe": _bpe, "wordpiece": _wordpiece, "unigram": _unigram}


def _canonical(vocabulary: list[tuple[str, float]], specials: list[str]) -> list[tuple[str, float]]:
    """The same pieces in one order, with scores that do not depend on the order in which the trainer met its words.

    The trainer adds up probabilities in any order, which moves the last digits, and gives characters that no text needs
    whole the lowest scores, `UNIGRAM_STEP` apart, in any order as well.
    """
    scores = {piece: round(score, UNIGRAM_DECIMALS) for piece, score in vocabulary if piece not in specials}
    single = [piece for piece in scores if len(piece) == 1]
    bound = min(scores.values()) + UNIGRAM_STEP * len(single)
    lowest = sorted(piece for piece in single if scores[piece] <= bound)
    scores |= zip(lowest, sorted((scores[piece] for piece in lowest), reverse=True))
    return [(piece, 0.0) for piece in specials] + sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def _special_tokens(spec: TrainTokenizer) -> list[str]:
    """In the order of their ids: what the tokenizer needs, what the template speaks of, what the recipe adds."""
    options, masked = spec.tokenizer, spec.head == "masked"
    needed = [*ENCODER.values()] if masked else [END_OF_TEXT, PAD]
    if options.algorithm != "bpe":
        needed.append(UNKNOWN)
    spoken = [token for token in CHATML if token in spec.chat_template and not masked]
    return list(dict.fromkeys([*needed, *spoken, *options.special_tokens]))


def _texts(folder: Path) -> Iterator[str]:
    """Every text of every row, and the roles of messages, which a chat template writes out."""
    for row in read_rows(folder):
        for value in row.values():
            if isinstance(value, str):
                yield value
            elif isinstance(value, list):
                for turn in value:
                    yield turn["role"]
                    yield turn["content"]


def _count(folder: Path) -> Counter[str]:
    """Characters other than white space, and how often they occur."""
    characters = Counter[str]()
    for text in _texts(folder):
        characters.update(text)
    return Counter({character: count for character, count in characters.items() if not character.isspace()})


def _alphabet(characters: Counter[str], most: int) -> list[str]:
    """The most frequent characters; of equally frequent ones the first by code point."""
    return sorted(characters, key=lambda character: (-characters[character], character))[:most]


def _stands_alone(character: str) -> bool:
    """Whether the cutting of `wordpiece` makes the character a word of its own: punctuation."""
    return unicodedata.category(character).startswith("P") or character in string.punctuation


def _restrict(texts: Iterable[str], characters: Counter[str], limit_alphabet: int) -> Iterator[str]:
    """Texts without the characters that `unigram` shall not learn, and evenly thinned out to what it can take."""
    rare = dict.fromkeys(map(ord, set(characters) - set(_alphabet(characters, limit_alphabet))), " ")
    share = min(1.0, UNIGRAM_CHARACTERS / max(1, characters.total()))
    owed = 0.0
    for text in texts:
        owed += share
        if owed >= 1:
            owed -= 1
            yield text.translate(rare) if rare else text


def _write(folder: Path, tokenizer: Tokenizer, specials: list[str], spec: TrainTokenizer) -> None:
    """Write the folder as Transformers does."""
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    masked = spec.head == "masked"
    named = ENCODER if masked else {"eos_token": END_OF_TEXT, "pad_token": PAD}
    config: dict[str, object] = {
        "backend": "tokenizers",
        "clean_up_tokenization_spaces": False,
        "extra_special_tokens": [token for token in specials if token not in (*named.values(), UNKNOWN)],
        "model_max_length": spec.max_length,
        "tokenizer_class": "TokenizersBackend",
        **named,
    }
    if UNKNOWN in specials:
        config["unk_token"] = UNKNOWN
    (folder / "tokenizer_config.json").write_text(
        json.dumps(dict(sorted(config.items())), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    if not masked:
        (folder / "chat_template.jinja").write_text(spec.chat_template, encoding="utf-8")


def _too_small(options: TrainedTokenizer, needed: int) -> StageError:
    lower = "" if options.algorithm == "bpe" else ", or lower `limit_alphabet`"
    return StageError(
        f"`tokenizer.vocab_size: {options.vocab_size}` is too small: characters and special tokens are {needed:,}",
        f"raise it to more than {needed:,}{lower}",
    )
