"""Text to token ids and back, for the three vocabularies of Whisper.

    tokenizer = get_tokenizer(multilingual=True, language="de")
    tokenizer.decode(tokenizer.encode(" Guten Tag."))

Byte-level BPE with the GPT-2 pre-tokenizer; after the ranks come the special tokens, in the order of `special_names`:
end of text, start of transcript, the languages, the tasks and controls, 1501 timestamps in steps of 20 ms, and then
whatever a fine-tune added. Nothing here touches the network. Not here: which tokens may follow which (decoding).
"""

import base64
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources

import tiktoken

from viska.errors import LanguageError, OptionError
from viska.languages import LANGUAGES, TO_LANGUAGE_CODE, language_code

__all__ = ["LANGUAGES", "TO_LANGUAGE_CODE", "Tokenizer", "get_encoding", "get_tokenizer"]

N_TIMESTAMPS = 1501
SECONDS_PER_TIMESTAMP = 0.02
TASKS = ("transcribe", "translate", "lang_id")

# Contractions; runs of letters, digits or other marks, each with one space before; white space, the last of it left to
# the word that follows.
_PRE_TOKENIZER = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# Writing of sounds, speakers and markup, which is not speech. A lone hyphen and a lone apostrophe are part of words.
_MARKS = list('"#()*+/:;<=>@[\\]^_`{|}~「」『』')
_OPENERS = ["-(", "-[", "('", '("']
_REPEATED = [mark * n for n in (2, 3) for mark in "<>-()♪"] + ["[[", "]]", "{{", "}}"]
_MUSIC = list("♩♪♫♬♭♮♯")

_UNSPACED_LANGUAGES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})


@dataclass(frozen=True)
class Tokenizer:
    """One vocabulary with a language and a task chosen; `get_tokenizer` makes it.

    `language` is a code and `task` one of "transcribe", "translate" and "lang_id"; both are None for English-only
    models. `added_tokens` are the names of a fine-tune's own ids, right after the timestamps.
    """

    encoding: tiktoken.Encoding
    num_languages: int
    language: str | None = None
    task: str | None = None
    added_tokens: tuple[str, ...] = ()

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, never special ones: text that spells a special token is encoded letter by letter."""
        return self.encoding.encode_ordinary(text)

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of `tokens`, with U+FFFD for bytes that are not UTF-8.

        Without text are timestamps, added tokens of the form <|...|>, which are controls, and ids past the vocabulary.
        Other added tokens give their names, and so do the special tokens before the timestamps.
        """
        begin, silent = self.timestamp_begin, self._silent_tokens
        return self.decode_with_timestamps([token for token in tokens if token < begin or token not in silent])

    def decode_with_timestamps(self, tokens: Sequence[int]) -> str:
        """Like `decode`, but timestamps and added controls give their names, such as <|1.08|>."""
        return self._bytes(tokens).decode("utf-8", errors="replace")

    @cached_property
    def special_tokens(self) -> dict[str, int]:
        """Id by name of every token after the ranks."""
        names = special_names(self.num_languages) + list(self.added_tokens)
        return {name: self.encoding.encode_single_token(name) for name in names}

    @cached_property
    def eot(self) -> int:
        """End of text; every id below it is text."""
        return self.special_tokens["<|endoftext|>"]

    @cached_property
    def sot(self) -> int:
        """Start of transcript."""
        return self.special_tokens["<|startoftranscript|>"]

    @cached_property
    def translate(self) -> int:
        """The task of translation into English."""
        return self.special_tokens["<|translate|>"]

    @cached_property
    def transcribe(self) -> int:
        """The task of transcription."""
        return self.special_tokens["<|transcribe|>"]

    @cached_property
    def sot_lm(self) -> int:
        """Start of text without audio; a token of the training, never wanted in a transcript."""
        return self.special_tokens["<|startoflm|>"]

    @cached_property
    def sot_prev(self) -> int:
        """Start of the prompt: the text before this window."""
        return self.special_tokens["<|startofprev|>"]

    @cached_property
    def no_speech(self) -> int:
        """The token whose probability after `sot` says that nobody speaks."""
        return self.special_tokens["<|nospeech|>"]

    @cached_property
    def no_timestamps(self) -> int:
        """The token that asks for text without timestamps."""
        return self.special_tokens["<|notimestamps|>"]

    @cached_property
    def timestamp_begin(self) -> int:
        """Id of the timestamp 0.00."""
        return self.special_tokens["<|0.00|>"]

    @cached_property
    def timestamp_end(self) -> int:
        """One past the id of the last timestamp, 30.00."""
        return self.timestamp_begin + N_TIMESTAMPS

    @cached_property
    def language_token(self) -> int:
        """Id of the chosen language. Raises LanguageError where none is chosen."""
        if self.language is None:
            raise LanguageError("this tokenizer has no language: give one to get_tokenizer(multilingual=True, ...)")
        return self.to_language_token(self.language)

    def to_language_token(self, language: str) -> int:
        """Id of a language, by code or name. Raises LanguageError for one that this vocabulary does not have."""
        code = language_code(language)
        _check_language(code, self.num_languages)
        return self.special_tokens[f"<|{code}|>"]

    @cached_property
    def all_language_codes(self) -> tuple[str, ...]:
        """The codes of this vocabulary's languages, in the order of their ids."""
        return tuple(LANGUAGES)[: self.num_languages]

    @cached_property
    def all_language_tokens(self) -> tuple[int, ...]:
        """The ids of this vocabulary's languages, ascending."""
        return tuple(self.special_tokens[f"<|{code}|>"] for code in self.all_language_codes)

    @cached_property
    def sot_sequence(self) -> tuple[int, ...]:
        """Start of transcript, language, task; an English-only vocabulary has only the first."""
        sequence = [self.sot]
        if self.language is not None:
            sequence.append(self.language_token)
        if self.task is not None:
            sequence.append(self.translate if self.task == "translate" else self.transcribe)
        return tuple(sequence)

    @cached_property
    def sot_sequence_including_notimestamps(self) -> tuple[int, ...]:
        """`sot_sequence` and the token that asks for no timestamps."""
        return (*self.sot_sequence, self.no_timestamps)

    @cached_property
    def non_speech_tokens(self) -> tuple[int, ...]:
        """Ids, ascending, of what is not speech: brackets, quotes, markup, music signs, a hyphen or quote with a space.

        A symbol counts with and without a space before it, if that is a single token. Music signs share their first
        bytes, so their first token counts always.
        """
        tokens = {self.encode(" -")[0], self.encode(" '")[0]}
        for symbol in _MARKS + _OPENERS + _REPEATED + _MUSIC:
            for ids in (self.encode(symbol), self.encode(" " + symbol)):
                if len(ids) == 1 or symbol in _MUSIC:
                    tokens.add(ids[0])
        return tuple(sorted(tokens))

    def split_to_word_tokens(self, tokens: Sequence[int]) -> tuple[list[str], list[list[int]]]:
        """Words and the tokens of each. Together they are all the tokens, in order, and all their text.

        Languages written without spaces are split at every character that ends a token.
        """
        if self.language in _UNSPACED_LANGUAGES:
            return self.split_tokens_on_unicode(tokens)
        return self.split_tokens_on_spaces(tokens)

    def split_tokens_on_unicode(self, tokens: Sequence[int]) -> tuple[list[str], list[list[int]]]:
        """Split after each token that does not end inside a character."""
        words: list[str] = []
        word_tokens: list[list[int]] = []
        start = 0
        for end in self._character_ends(tokens):
            word_tokens.append(list(tokens[start:end]))
            words.append(self.decode_with_timestamps(word_tokens[-1]))
            start = end
        return words, word_tokens

    def split_tokens_on_spaces(self, tokens: Sequence[int]) -> tuple[list[str], list[list[int]]]:
        """Split before each space; a punctuation mark and a special token begin a word of their own."""
        words: list[str] = []
        word_tokens: list[list[int]] = []
        for piece, ids in zip(*self.split_tokens_on_unicode(tokens), strict=True):
            # A run of marks counts only if ASCII has it in this order (a substring): upstream's rule, which word times
            # depend on.
            alone = self._is_special(ids[0]) or piece.strip() in string.punctuation
            if alone or piece.startswith(" ") or not words:
                words.append(piece)
                word_tokens.append(list(ids))
            else:
                words[-1] += piece
                word_tokens[-1].extend(ids)
        return words, word_tokens

    def _character_ends(self, tokens: Sequence[int]) -> Iterator[int]:
        """How many tokens make up whole characters, ascending; the last is all of them."""
        whole = self._bytes(tokens)
        text = whole.decode("utf-8", errors="replace")
        position = 0
        for count, token in enumerate(tokens, start=1):
            position += len(self._bytes([token]))
            head, tail = whole[:position], whole[position:]
            if head.decode("utf-8", errors="replace") + tail.decode("utf-8", errors="replace") == text:
                yield count

    def _bytes(self, tokens: Sequence[int]) -> bytes:
        """The UTF-8 of `tokens`; an id past the vocabulary, where a model's matrix was padded, has none."""
        size = self.encoding.n_vocab
        return self.encoding.decode_bytes([token for token in tokens if token < size])

    def _is_special(self, token: int) -> bool:
        return token >= self.eot and (token < self.timestamp_end or token in self._silent_tokens)

    @cached_property
    def _silent_tokens(self) -> frozenset[int]:
        """The ids from the first timestamp on that have no text."""
        controls = (self.special_tokens[name] for name in self.added_tokens if _is_control(name))
        return frozenset(range(self.timestamp_begin, self.timestamp_end)).union(controls)


def special_names(num_languages: int) -> list[str]:
    """The names of the special tokens, in the order of their ids."""
    controls = ["translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps"]
    times = [f"{i * SECONDS_PER_TIMESTAMP:.2f}" for i in range(N_TIMESTAMPS)]
    names = ["endoftext", "startoftranscript", *list(LANGUAGES)[:num_languages], *controls, *times]
    return [f"<|{name}|>" for name in names]


@cache
def get_encoding(name: str = "gpt2", num_languages: int = 99, added_tokens: tuple[str, ...] = ()) -> tiktoken.Encoding:
    """The BPE with ranks and special tokens; `name` is "gpt2" (English-only models) or "multilingual".

    Raises OptionError for another name, a number of languages outside 1..100 or added tokens that are not distinct.
    """
    if name not in ("gpt2", "multilingual"):
        raise OptionError(f"unknown vocabulary {name!r}: give 'gpt2' (English-only models) or 'multilingual'")
    if not 1 <= num_languages <= len(LANGUAGES):
        raise OptionError(
            f"num_languages is {num_languages}: give 1 to {len(LANGUAGES)} (99 for most models, 100 for large-v3 and "
            "turbo); ids that a fine-tune has beyond them are named by added_tokens"
        )
    names = special_names(num_languages) + list(added_tokens)
    if "" in names or len(set(names)) < len(names):
        raise OptionError(f"added tokens {added_tokens!r}: each needs a name that no other special token has")
    ranks = _load_ranks(name)
    return tiktoken.Encoding(
        name=f"whisper-{name}",
        pat_str=_PRE_TOKENIZER,
        mergeable_ranks=ranks,
        special_tokens={special: len(ranks) + i for i, special in enumerate(names)},
        explicit_n_vocab=len(ranks) + len(names),
    )


@cache
def get_tokenizer(
    multilingual: bool,
    *,
    num_languages: int = 99,
    language: str | None = None,
    task: str | None = None,
    added_tokens: tuple[str, ...] = (),
) -> Tokenizer:
    """The tokenizer of a model.

    `language` is a code or an English name, "en" if None; `task` is "transcribe" (if None), "translate" or "lang_id".
    An English-only model has neither: both are checked and then dropped. `added_tokens` name a fine-tune's ids after
    the standard vocabulary. Raises LanguageError for a language that the model does not have, OptionError for an
    unknown task and what `get_encoding` refuses.
    """
    if task is not None and task not in TASKS:
        raise OptionError(f"unknown task {task!r}: give one of {', '.join(TASKS)}")
    code = None if language is None else language_code(language)
    if not multilingual:
        encoding = get_encoding("gpt2", num_languages, added_tokens)
        return Tokenizer(encoding, num_languages, added_tokens=added_tokens)
    encoding = get_encoding("multilingual", num_languages, added_tokens)
    _check_language(code or "en", num_languages)
    return Tokenizer(encoding, num_languages, code or "en", task or "transcribe", added_tokens)


def _check_language(code: str, num_languages: int) -> None:
    if list(LANGUAGES).index(code) >= num_languages:
        raise LanguageError(
            f"language {code!r} ({LANGUAGES[code]}) is not among the {num_languages} languages of this model: give "
            "another language, or use a model that has it (large-v3 and turbo have all 100)"
        )


def _is_control(name: str) -> bool:
    return name.startswith("<|") and name.endswith("|>")


def _load_ranks(name: str) -> dict[bytes, int]:
    """Bytes to rank. One multilingual rank is the empty string: a gap of the training that keeps later ids in place."""
    text = (resources.files("viska") / "assets" / f"{name}.tiktoken").read_text(encoding="ascii")
    pairs = (line.split(" ") for line in text.splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in pairs}
