"""Windows that are decoded together: each at its own position, each leaving its place when it is done."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from viska.decoding import DecodingOptions, DecodingResult, LogitFilter, MaximumLikelihoodRanker, tokenizer_for
from viska.decoding.loops import ends_in_loop
from viska.decoding.prompt import initial_tokens
from viska.decoding.task import finished_result, steering_filters
from viska.engine.cache import CrossMemory, SelfCache
from viska.engine.decoder import Decoder
from viska.engine.rules import Rules
from viska.engine.search import Beams, WindowSearch, best_candidates, drawn_candidates, window_search
from viska.languages import language_code
from viska.model import Whisper
from viska.tokenizer import Tokenizer

LOOP_CHECK_EVERY = 8


@dataclass
class Sitting:
    """One window in a lane. With `stop_loops` it leaves as soon as its text goes round in circles."""

    ticket: int
    search: WindowSearch
    tokenizer: Tokenizer
    language: str
    n_initial: int
    no_speech_prob: float
    features: Tensor
    memory: CrossMemory
    filters: list[LogitFilter]
    generator: torch.Generator | None
    stop_loops: bool = False

    @property
    def in_circles(self) -> bool:
        """Whether every sequence that goes on says the same over and over."""
        # Looked at now and then: what goes round in circles does so for long.
        if not self.stop_loops or len(self.search.rows[0]) % LOOP_CHECK_EVERY:
            return False
        eot, stamps_end = self.tokenizer.eot, self.tokenizer.timestamp_end
        live = [row for row in self.search.rows if row[-1] != eot]
        return all(ends_in_loop([token for token in row if token < eot or token >= stamps_end]) for row in live)

    @property
    def position(self) -> int:
        """Of the newest token, which the network has not seen yet."""
        return self.n_initial + len(self.search.rows[0]) - 1


def same_lane(options: DecodingOptions) -> str:
    """What two windows must have in common to be decoded together: all but language, prompt and prefix."""
    return repr(replace(options, language=None, prompt=None, prefix=None))


class Lane:
    """Up to `n_windows` windows with the same options but for language, prompt and prefix.

    `admit` gives a window a place, `step` grows all by one token and returns those that are done.
    """

    def __init__(self, model: Whisper, decoder: Decoder, options: DecodingOptions, n_windows: int) -> None:
        self.model, self.decoder, self.options, self.n_windows = model, decoder, options, n_windows
        self.n_rows = options.beam_size or options.best_of or 1  # of each window
        self.sample_len = options.sample_len or model.dims.n_text_ctx // 2
        tokenizer = tokenizer_for(model, language="en", task=options.task)
        self.rules = Rules(options, tokenizer, n_audio_ctx=model.dims.n_audio_ctx, device=model.device)
        self.ranker = MaximumLikelihoodRanker(options.length_penalty)
        self.cache: SelfCache = decoder.self_cache(n_windows * self.n_rows)
        self.sittings: list[Sitting] = []

    @property
    def room(self) -> int:
        """How many more windows may be admitted."""
        return self.n_windows - len(self.sittings)

    @property
    def busy(self) -> bool:
        """Whether any window is in it."""
        return bool(self.sittings)

    @torch.inference_mode()
    def admit(
        self,
        ticket: int,
        features: Tensor,
        memory: CrossMemory,
        options: DecodingOptions,
        *,
        stop_loops: bool = False,
    ) -> DecodingResult | None:
        """Take a window in, with its options, and choose its first token; a result where that was all of it."""
        place = len(self.sittings)
        language = language_code(options.language) if options.language is not None else "en"
        tokenizer = tokenizer_for(self.model, language=language, task=options.task)
        initial = initial_tokens(options, tokenizer, n_ctx=self.decoder.n_ctx, sample_len=self.sample_len)
        hidden, keys, values = self.decoder.prefill(initial, memory)
        self.cache.fill(place * self.n_rows, self.n_rows, keys, values)
        logits = self.decoder.logits(hidden[[initial.index(tokenizer.sot), -1]])  # (2, V)
        device = logits.device
        sitting = Sitting(
            ticket,
            window_search(options, tokenizer.eot),
            tokenizer,
            language,
            n_initial=len(initial),
            no_speech_prob=logits[0].softmax(dim=-1)[tokenizer.no_speech].item(),
            features=features,
            memory=memory,
            filters=steering_filters(options, tokenizer, 0, device),
            generator=torch.Generator(device).manual_seed(options.seed) if options.temperature > 0 else None,
            stop_loops=stop_loops,
        )
        self.sittings.append(sitting)
        self._choose(logits[1:].repeat(self.n_rows, 1), place)
        return self._leave(place) if self._finished(sitting) else None

    @torch.inference_mode()
    def step(self) -> list[tuple[int, DecodingResult]]:
        """One more token for every row; the windows that are done, which leave."""
        tokens = [row[-1] for sitting in self.sittings for row in sitting.search.rows]
        positions = [sitting.position for sitting in self.sittings for _ in range(self.n_rows)]
        memories = [sitting.memory for sitting in self.sittings]
        logits = self.decoder.step(tokens, positions, self.cache, memories)  # (R, V)
        self._choose(logits, 0)
        done = [place for place, sitting in enumerate(self.sittings) if self._finished(sitting)]
        return [(self.sittings[place].ticket, self._leave(place)) for place in reversed(done)]

    @torch.inference_mode()
    def drop(self, ticket: int) -> None:
        """Let a window go that nobody waits for any more."""
        for place, sitting in enumerate(self.sittings):
            if sitting.ticket == ticket:
                self._vacate(place)
                return

    def _choose(self, logits: Tensor, first: int) -> None:
        """Let the windows from `first` on choose their next tokens among logits (R, V)."""
        sittings = self.sittings[first:]
        rows = [row for sitting in sittings for row in sitting.search.rows]
        self.rules.suppress(logits, rows)
        for sitting, own in zip(sittings, torch.split(logits, self.n_rows), strict=True):
            for logit_filter in sitting.filters:
                logit_filter.apply(own, torch.tensor(sitting.search.rows, dtype=torch.long, device=logits.device))
        self.rules.keep_time(logits, rows)
        tokens, logprobs = self._candidates(logits, sittings)
        for i, sitting in enumerate(sittings):
            own_rows = slice(i * self.n_rows, (i + 1) * self.n_rows)
            self._advance(sitting, first + i, tokens[own_rows], logprobs[own_rows])

    def _candidates(self, logits: Tensor, sittings: Sequence[Sitting]) -> tuple[list[list[int]], list[list[float]]]:
        if self.options.temperature > 0:
            generators = [sitting.generator for sitting in sittings if sitting.generator is not None]
            return drawn_candidates(logits, self.options.temperature, generators)
        # A beam can lose at most one continuation to end-of-text, so one more than the beam size is enough.
        return best_candidates(logits, self.options.beam_size + 1 if self.options.beam_size is not None else 1)

    def _advance(
        self, sitting: Sitting, place: int, tokens: Sequence[Sequence[int]], logprobs: Sequence[Sequence[float]]
    ) -> None:
        search = sitting.search
        shared = search.shared if isinstance(search, Beams) else 0
        end = sitting.position + 1
        sources = search.advance(tokens, logprobs)
        if sources is not None:
            first = place * self.n_rows
            self.cache.reorder(first, sources, sitting.n_initial + shared, end)

    def _finished(self, sitting: Sitting) -> bool:
        n_sampled = len(sitting.search.rows[0])
        out_of_room = n_sampled >= self.sample_len or sitting.position >= self.decoder.n_ctx
        return sitting.search.done or out_of_room or sitting.in_circles

    def _leave(self, place: int) -> DecodingResult:
        """The result of a window, whose place is given up."""
        sitting = self.sittings[place]
        sequences, sums = sitting.search.candidates()
        best = self.ranker.rank([sequences], [sums])[0]
        self._vacate(place)
        return finished_result(
            sequences[best],
            sums[best],
            sitting.tokenizer,
            self.options.temperature,
            audio_features=sitting.features,
            language=sitting.language,
            no_speech_prob=sitting.no_speech_prob,
        )

    def _vacate(self, place: int) -> None:
        """Give up a place; the last window goes over to it, so that the first places are the taken ones."""
        last = len(self.sittings) - 1
        if place != last:
            end = self.sittings[last].position + 1
            self.cache.move(last * self.n_rows, place * self.n_rows, self.n_rows, end)
            self.sittings[place] = self.sittings[last]
        self.sittings.pop()
