"""From audio features to a hypothesis: search, rules on what may follow, and the network behind one seam.

Radford et al. (2022), section 4.5. `options` say what is asked; `prompt` what the decoder is given; `inference` is the
network; `filters`, `suppression` and `repetition` say which tokens may not follow, `bias` which are expected; `search`
chooses them, `logprobs` keeps a record of it; `ranking` picks among candidates; `task` puts these together.
"""

from viska.decoding.bias import PhraseBias as PhraseBias
from viska.decoding.filters import ApplyTimestampRules as ApplyTimestampRules
from viska.decoding.filters import LogitFilter as LogitFilter
from viska.decoding.filters import SuppressBlank as SuppressBlank
from viska.decoding.filters import SuppressTokens as SuppressTokens
from viska.decoding.inference import Inference as Inference
from viska.decoding.inference import PyTorchInference as PyTorchInference
from viska.decoding.language import detect_language as detect_language
from viska.decoding.language import tokenizer_for as tokenizer_for
from viska.decoding.logprobs import RecordingDecoder as RecordingDecoder
from viska.decoding.options import DecodingOptions as DecodingOptions
from viska.decoding.options import DecodingResult as DecodingResult
from viska.decoding.ranking import MaximumLikelihoodRanker as MaximumLikelihoodRanker
from viska.decoding.ranking import SequenceRanker as SequenceRanker
from viska.decoding.repetition import NoRepeatNgram as NoRepeatNgram
from viska.decoding.repetition import RepetitionPenalty as RepetitionPenalty
from viska.decoding.search import BeamSearchDecoder as BeamSearchDecoder
from viska.decoding.search import GreedyDecoder as GreedyDecoder
from viska.decoding.search import TokenDecoder as TokenDecoder
from viska.decoding.suppression import SuppressMatching as SuppressMatching
from viska.decoding.task import DecodingTask as DecodingTask
from viska.decoding.task import decode as decode
from viska.text import compression_ratio as compression_ratio
