"""One decoding from log-mel to text: the reference path, plain enough to be the oracle of every faster one."""

from collections.abc import Callable
from dataclasses import replace
from math import nan
from typing import Any

import torch
from torch import Tensor

from viska.decoding.bias import phrase_bias
from viska.decoding.filters import ApplyTimestampRules, LogitFilter, SuppressBlank, SuppressTokens
from viska.decoding.inference import Inference, PyTorchInference
from viska.decoding.language import detect_language, is_audio_features, tokenizer_for
from viska.decoding.logprobs import RecordingDecoder, TokenFigures
from viska.decoding.options import DecodingOptions, DecodingResult, compute_dtype, validate
from viska.decoding.prompt import initial_tokens, suppressed_tokens
from viska.decoding.ranking import MaximumLikelihoodRanker, SequenceRanker
from viska.decoding.repetition import NoRepeatNgram, RepetitionPenalty
from viska.decoding.search import BeamSearchDecoder, GreedyDecoder, TokenDecoder
from viska.decoding.suppression import SuppressMatching
from viska.errors import OptionError
from viska.languages import language_code
from viska.model import Whisper
from viska.result import TokenAlternative
from viska.text import compression_ratio
from viska.tokenizer import Tokenizer

SECONDS_OF_CONTEXT = 30


class DecodingTask:
    """Decodes batches of windows with one model and one set of options.

    Raises OptionError for options that are not accepted, alone or together.
    """

    inference: Inference
    sequence_ranker: SequenceRanker
    decoder: TokenDecoder
    logit_filters: list[LogitFilter]

    def __init__(
        self,
        model: Whisper,
        options: DecodingOptions,
        make_inference: Callable[[Whisper, int], Inference] = PyTorchInference,
    ) -> None:
        validate(options)
        self.model = model
        self.options = options
        if options.language is None and not model.is_multilingual:
            raise OptionError("this model knows English alone and cannot detect a language; give language='en'")
        self.tokenizer: Tokenizer = tokenizer_for(model, language=options.language or "en", task=options.task)

        self.n_group: int = options.beam_size or options.best_of or 1
        self.n_ctx: int = model.dims.n_text_ctx
        self.sample_len: int = options.sample_len or self.n_ctx // 2
        self.initial_tokens = tuple(
            initial_tokens(options, self.tokenizer, n_ctx=self.n_ctx, sample_len=self.sample_len)
        )
        self.sample_begin: int = len(self.initial_tokens)
        self.sot_index: int = self.initial_tokens.index(self.tokenizer.sot)

        self.inference = make_inference(model, len(self.initial_tokens))
        self.sequence_ranker = MaximumLikelihoodRanker(options.length_penalty)
        self.bias = phrase_bias(options.bias, options.bias_strength, self.tokenizer) if options.bias else None
        self.recorder: RecordingDecoder | None = None
        self.decoder = self._make_decoder()
        if self.bias is not None or options.token_logprobs or options.top_logprobs:
            self.decoder = self.recorder = self._record(self.decoder)
        self.logit_filters = self._make_filters()

    def _make_decoder(self) -> TokenDecoder:
        options, eot = self.options, self.tokenizer.eot
        if options.beam_size is not None:
            return BeamSearchDecoder(options.beam_size, eot, self.inference, options.patience)
        generator = torch.Generator(self.model.device).manual_seed(options.seed) if options.temperature > 0 else None
        return GreedyDecoder(options.temperature, eot, generator)

    def _record(self, search: TokenDecoder) -> RecordingDecoder:
        return RecordingDecoder(
            search,
            eot=self.tokenizer.eot,
            n_group=self.n_group,
            sample_begin=self.sample_begin,
            n_alternatives=self.options.top_logprobs,
            bias=self.bias,
        )

    def _make_filters(self) -> list[LogitFilter]:
        options, filters = self.options, list[LogitFilter]()
        if options.suppress_blank:
            filters.append(SuppressBlank(self.tokenizer, self.sample_begin))
        if banned := suppressed_tokens(options.suppress_tokens, self.tokenizer):
            filters.append(SuppressTokens(banned))
        filters += steering_filters(options, self.tokenizer, self.sample_begin, self.model.device)
        if not options.without_timestamps:
            precision = SECONDS_OF_CONTEXT / self.model.dims.n_audio_ctx  # 0.02 s a timestamp
            latest = options.max_initial_timestamp
            index = round(latest / precision) if latest else None
            filters.append(ApplyTimestampRules(self.tokenizer, self.sample_begin, index))
        return filters

    @torch.no_grad()
    def run(self, mel: Tensor) -> list[DecodingResult]:
        """Log-mel (B, n_mels, 3000), or audio features (B, n_audio_ctx, D), -> one result a window."""
        return self.run_on_features(self._get_audio_features(mel))

    @torch.no_grad()
    def run_on_features(self, features: Tensor) -> list[DecodingResult]:
        """What the encoder made of windows, (B, S, D) -> one result a window."""
        self.decoder.reset()
        n_audio = features.shape[0]
        tokens = torch.tensor([self.initial_tokens], device=features.device).repeat(n_audio, 1)  # (B, T)
        languages, language_probs = self._detect_language(features, tokens)
        if self.options.task == "lang_id":
            return [
                DecodingResult(audio_features=feature, language=language, language_probs=probs)
                for feature, language, probs in zip(features, languages, language_probs, strict=True)
            ]

        tokens = tokens.repeat_interleave(self.n_group, dim=0)  # (B n_group, T)
        # One window is shared by its group; more of them are written out, a row of features to a row of tokens.
        shared = features if n_audio == 1 else features.repeat_interleave(self.n_group, dim=0)
        tokens, sum_logprobs, no_speech_probs = self._main_loop(shared, tokens)

        candidates, logprobs = self.decoder.finalize(
            tokens.view(n_audio, self.n_group, -1), sum_logprobs.view(n_audio, self.n_group)
        )
        sampled = [[self._sampled_part(sequence) for sequence in group] for group in candidates]
        selected = self.sequence_ranker.rank(sampled, logprobs)
        return [
            self._result(
                i,
                sampled[i][best].tolist(),
                logprobs[i][best],
                audio_features=features[i],
                language=languages[i],
                language_probs=language_probs[i],
                no_speech_prob=no_speech_probs[i * self.n_group],
            )
            for i, best in enumerate(selected)
        ]

    def _get_audio_features(self, mel: Tensor) -> Tensor:
        """Log-mel or audio features -> audio features (B, n_audio_ctx, D) on the model's device."""
        weights = next(self.model.parameters())
        mel = mel.to(weights.device, compute_dtype(weights.dtype, weights.device, fp16=self.options.fp16))
        if is_audio_features(self.model, mel):
            return mel
        n_mels, n_frames = self.model.dims.n_mels, 2 * self.model.dims.n_audio_ctx
        if tuple(mel.shape[1:]) != (n_mels, n_frames):
            raise OptionError(
                f"mel has shape {tuple(mel.shape)}; this model takes (n, {n_mels}, {n_frames}): "
                f"use log_mel_spectrogram(audio, n_mels={n_mels}) and pad_or_trim"
            )
        return self.model.embed_audio(mel)

    def _detect_language(self, features: Tensor, tokens: Tensor) -> tuple[list[str], list[dict[str, float] | None]]:
        """The language of each window; what is detected is written into `tokens` (B, T), in place."""
        given = self.options.language
        code = language_code(given) if given is not None else None
        if code is not None and self.options.task != "lang_id":
            return [code] * len(features), [None] * len(features)
        language_tokens, language_probs = detect_language(self.model, features, self.tokenizer, self.options.languages)
        if code is None:
            tokens[:, self.sot_index + 1] = language_tokens
        return [max(probs, key=probs.get) for probs in language_probs], language_probs

    def _main_loop(self, audio_features: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, list[float]]:
        """Grow `tokens` (B, T) until every row has ended or the room is used up.

        Returns the tokens, their log-probabilities (B,), and for each row the probability of no speech.
        """
        sum_logprobs = torch.zeros(len(tokens), device=audio_features.device)
        no_speech_probs = [nan] * len(tokens)
        try:
            for step in range(self.sample_len):
                logits = self.inference.logits(tokens, audio_features)  # (B, T or 1, V)
                if step == 0:
                    at_start = logits[:, self.sot_index].float().softmax(dim=-1)  # (B, V)
                    no_speech_probs = at_start[:, self.tokenizer.no_speech].tolist()
                    if self.bias is not None:
                        self.bias.begin(no_speech_probs)
                logits = logits[:, -1]  # (B, V)
                for logit_filter in self.logit_filters:
                    logit_filter.apply(logits, tokens)
                tokens, completed = self.decoder.update(tokens, logits, sum_logprobs)
                if completed or tokens.shape[-1] > self.n_ctx:
                    break
        finally:
            self.inference.cleanup_caching()
        return tokens, sum_logprobs, no_speech_probs

    def _sampled_part(self, sequence: Tensor) -> Tensor:
        """What the model said: behind the initial tokens, before the first end-of-text."""
        end = int((sequence == self.tokenizer.eot).nonzero()[0, 0])
        return sequence[self.sample_begin : end]

    def _result(self, audio: int, tokens: list[int], sum_logprob: float, **known: Any) -> DecodingResult:
        if self.recorder is not None:
            figures = self.recorder.figures(audio, tokens)
            known |= self._token_figures(figures)
            if self.bias is not None:  # the search believes its bias; the result says what the model itself thinks
                sum_logprob = sum(figure.logprob for figure in figures) + self.recorder.end_logprob(audio, tokens)
        return finished_result(tokens, sum_logprob, self.tokenizer, self.options.temperature, **known)

    def _token_figures(self, figures: list[TokenFigures]) -> dict[str, Any]:
        """The fields of a result that tell about single tokens, those that are asked for."""
        named: dict[str, Any] = {}
        if self.options.token_logprobs:
            named["token_logprobs"] = tuple(figure.logprob for figure in figures)
        if self.options.top_logprobs:
            named["top_logprobs"] = tuple(
                tuple(
                    TokenAlternative(token, self.tokenizer.decode_with_timestamps([token]), logprob)
                    for token, logprob in figure.alternatives
                )
                for figure in figures
            )
        return named


def steering_filters(
    options: DecodingOptions, tokenizer: Tokenizer, sample_begin: int, device: torch.device
) -> list[LogitFilter]:
    """The rules of Viska's own that the options ask for: what matches an expression, and repetition."""
    filters: list[LogitFilter] = []
    if options.suppress_regex is not None:
        filters.append(SuppressMatching(options.suppress_regex, tokenizer, device))
    if options.repetition_penalty != 1:
        filters.append(RepetitionPenalty(options.repetition_penalty, tokenizer, sample_begin))
    if options.no_repeat_ngram_size:
        filters.append(NoRepeatNgram(options.no_repeat_ngram_size, tokenizer, sample_begin))
    return filters


def finished_result(
    tokens: list[int], sum_logprob: float, tokenizer: Tokenizer, temperature: float, **known: Any
) -> DecodingResult:
    """The result for tokens without the end, and the figures that are told of their text."""
    text = tokenizer.decode(tokens).strip()
    return DecodingResult(
        tokens=tokens,
        text=text,
        avg_logprob=sum_logprob / (len(tokens) + 1),
        temperature=temperature,
        compression_ratio=compression_ratio(text),
        **known,
    )


def decode(
    model: Whisper, mel: Tensor, options: DecodingOptions | None = None, **kwargs: Any
) -> DecodingResult | list[DecodingResult]:
    """Decode one window, or a batch, of 30 seconds each.

    `mel` is log-mel (n_mels, 3000) or (B, n_mels, 3000), or audio features (n_audio_ctx, D) or (B, n_audio_ctx, D);
    keywords override single options. Returns a DecodingResult for one window, a list of them for a batch. Raises
    OptionError for options that are not accepted and LanguageError for an unknown language.
    """
    options = options or DecodingOptions()
    if kwargs:
        unknown = sorted(set(kwargs) - set(DecodingOptions.__dataclass_fields__))
        if unknown:
            known = ", ".join(DecodingOptions.__dataclass_fields__)
            raise OptionError(f"unknown decoding option {', '.join(unknown)}; accepted are {known}")
        options = replace(options, **kwargs)
    if mel.ndim not in (2, 3):
        raise OptionError(f"mel has shape {tuple(mel.shape)}; accepted are one window (2 axes) or a batch (3 axes)")
    results = DecodingTask(model, options).run(mel if mel.ndim == 3 else mel.unsqueeze(0))
    return results if mel.ndim == 3 else results[0]
