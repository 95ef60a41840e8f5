"""How Viska's own layout is measured: presets, and the words around which four languages break their lines."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from viska.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Viska's own layout of subtitles. Times in seconds.

    Widths are columns of a display: 2 for a wide character such as a kanji or an emoji, 0 for a combining one.
    Raises OptionError for a number that cannot be meant.
    """

    max_line_width: int = 42
    """Columns a line; a longer word gets a line of its own."""
    max_line_count: int = 2
    """Lines a cue."""
    max_words: int | None = None
    """Words a cue; of scripts without spaces, characters where the words are not known."""
    min_duration: float = 5 / 6
    """A cue stays at least so long where the next one leaves it the time."""
    max_duration: float = 7.0
    """No cue stays longer."""
    max_speed: float = 17.0
    """Columns a second; a cue stays until it can be read where the next one leaves it the time."""
    gap: float = 2 / 24
    """Between two cues, unless speech is too dense: two frames."""
    max_pause: float = 1.5
    """Longer silence between two words ends a cue."""
    karaoke: bool = False
    """Whether a cue tells when each of its words is said; vtt only, as lrc and ass always do. Needs words."""

    def __post_init__(self) -> None:
        for name in ("max_line_width", "max_line_count", "max_words"):
            value = getattr(self, name)
            optional = name == "max_words" and value is None
            if not optional and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise OptionError(f"{name} is {value!r}; accepted are whole numbers from 1")
        for name in ("min_duration", "gap", "max_pause"):
            if not 0 <= getattr(self, name) < inf:
                raise OptionError(f"{name} is {getattr(self, name)!r}; accepted are seconds, 0 or more")
        if not self.max_speed > 0:
            raise OptionError(f"max_speed is {self.max_speed!r}; accepted are columns a second, more than 0")
        if not max(0.1, self.min_duration) <= self.max_duration < inf:
            raise OptionError(
                f"max_duration is {self.max_duration!r}; accepted are seconds from 0.1, and from min_duration, "
                f"which is {self.min_duration!r}"
            )


PRESETS: Mapping[str, Preset] = {
    # What streaming services ask for: two lines of 42, 5/6 s to 7 s, 17 characters a second for adults.
    "tv": Preset(),
    # The same for children, who read more slowly.
    "children": Preset(max_speed=13.0),
    # Narrow lines as on teletext; 180 words a minute, of five letters and a space.
    "bbc": Preset(max_line_width=37, max_speed=18.0, min_duration=1.0),
    # One to three words at a time, as they are said.
    "shorts": Preset(
        max_line_width=20, max_line_count=1, max_words=3, min_duration=0.25, max_speed=inf, gap=0.0, max_pause=0.5
    ),
}


@dataclass(frozen=True)
class Grammar:
    """The small words of a language, in lower case."""

    links: frozenset[str] = frozenset()
    """Conjunctions and prepositions: good to break before, bad to break after."""
    openers: frozenset[str] = frozenset()
    """Articles, possessives, titles: bad to break after."""
    names: bool = False
    """Whether two capitalised words in a row are likely to be a name."""


def _grammar(links: str, openers: str, names: bool = True) -> Grammar:
    return Grammar(frozenset(links.split()), frozenset(openers.split()), names)


NO_GRAMMAR = Grammar()
GRAMMARS: Mapping[str, Grammar] = {
    "en": _grammar(
        "about after against although and as at because before between but by during for from if in into nor of on or "
        "over since so than that though through to under unless until when where whether which while who with without",
        "a an the my your his her its our their this these those mr. mrs. ms. dr. st.",
    ),
    "de": _grammar(
        "aber als an auf aus bei bevor bis damit dass denn durch für gegen in mit nach nachdem ob obwohl oder ohne "
        "seit sondern um und unter von vor während weil wenn wie wo zu zum zur zwischen über",
        "das dem den der des die ein eine einem einen einer eines mein meine dein deine sein seine ihr ihre dr.",
        names=False,  # all nouns are capitalised
    ),
    "fr": _grammar(
        "alors après avant avec car chez comme contre dans depuis des donc du en entre et lorsque mais ni ou où par "
        "parce pendant pour puisque quand que qui sans si sous sur vers à de",
        "au aux ce ces cet cette la le les leur leurs ma mes mon nos notre sa ses son un une vos votre m. mme",
    ),
    "es": _grammar(
        "a ante aunque como con contra cuando de desde donde durante e en entre hacia hasta mientras ni o para pero "
        "por porque pues que quien según si sin sobre tras u y",
        "al del el ella esta este la las los mi mis nuestra nuestro su sus tu tus un una unas unos sr. sra.",
    ),
}
