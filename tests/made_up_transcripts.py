"""Transcripts of nothing that was ever said, in several scripts, with and without words."""

from hypothesis import strategies as st

from viska.result import Segment, Transcript, Word


def make_segment(number, start, end, text, words=None):
    return Segment(
        id=number,
        seek=0,
        start=start,
        end=end,
        text=text,
        tokens=(50364, 15947, 50414),
        temperature=0.0,
        avg_logprob=-0.25,
        compression_ratio=1.2,
        no_speech_prob=0.01,
        words=words,
    )


def make_transcript(*rows, language="en"):
    segments = tuple(make_segment(number, *row) for number, row in enumerate(rows))
    return Transcript("".join(segment.text for segment in segments), segments, language)


def make_spoken(*segments, language="en"):
    """A transcript with words, from (text, start, end) of each word of each segment."""
    rows = []
    for spoken in segments:
        words = tuple(Word(text, start, end, 0.9) for text, start, end in spoken)
        start, end = (words[0].start, words[-1].end) if words else (0.0, 0.0)
        rows.append((start, end, "".join(word.word for word in words), words))
    return make_transcript(*rows, language=language)


def paced(texts, start=0.0, length=0.3, gap=0.05):
    """The words one after the other, in hundredths of a second as Whisper has them."""
    step = length + gap
    return [
        (text, round(start + number * step, 2), round(start + number * step + length, 2))
        for number, text in enumerate(texts)
    ]


def spaced(text):
    return [f" {word}" for word in text.split()]


ENGLISH = spaced(
    "After the war, the old captain came back to the village and bought a small house near the harbour. "
    "Nobody knew why he had left, but everybody in the street talked about Mr. Oakley and his two black dogs."
)
GERMAN = spaced(
    "Es war einmal ein Donaudampfschifffahrtskapitän, der niemandem glaubte. Über die Brücke ging er nur, weil es "
    "regnete und er keinen Schirm hatte."
)
JAPANESE = ["今日", "は", "とても", "いい", "天気", "です", "ね。", "駅", "まで", "歩いて", "行き", "ましょう", "か？"]  # noqa: RUF001
ARABIC = spaced("ذهب الولد إلى المدرسة صباحاً، ثم عاد إلى البيت مع صديقه. هل تعرف اسمه؟")
SCRIPTS = {"en": ENGLISH, "de": GERMAN, "ja": JAPANESE, "ar": ARABIC}


def talk(language):
    """Three segments with words: the second after a long pause, the third at once."""
    words = SCRIPTS[language]
    third = len(words) // 3
    first = paced(words[:third], 0.0)
    second = paced(words[third : 2 * third], first[-1][2] + 3.6)
    return make_spoken(first, second, paced(words[2 * third :], second[-1][2]), language=language)


def without_words(transcript):
    rows = [(segment.start, segment.end, segment.text) for segment in transcript.segments]
    return make_transcript(*rows, language=transcript.language)


ALPHABETS = {
    "en": st.text("abcXY'.,-", min_size=1, max_size=9).map(lambda word: " " + word),
    "de": st.text("äöüßABC.?", min_size=1, max_size=14).map(lambda word: " " + word),
    "ar": st.text("ابتثج،؟", min_size=1, max_size=7).map(lambda word: " " + word),
    "ko": st.text("안녕하세요", min_size=1, max_size=5).map(lambda word: " " + word),
    "ja": st.text("日本語ひらカナ。、ー「」", min_size=1, max_size=3),
    "zh": st.text("中文字，。12", min_size=1, max_size=2),  # noqa: RUF001
    "th": st.text("กขเแาิ", min_size=1, max_size=3),
}


@st.composite
def spoken_transcripts(draw, languages=tuple(ALPHABETS), tidy=True):
    """With words; where not tidy, words may overlap, stand still and go back in time."""
    language = draw(st.sampled_from(languages))
    segments = []
    now = 0
    for count in draw(st.lists(st.integers(0, 12), max_size=5)):
        words = []
        for _ in range(count):
            gap = draw(st.sampled_from([0, 0, 0, 2, 7, 30, 100, 301, 420] + ([] if tidy else [-40])))
            length = draw(st.sampled_from([0, 4, 10, 25, 60, 150] + ([] if tidy else [900, -5])))
            start = max(0, now + gap)
            now = max(0, start + length)
            words.append((draw(ALPHABETS[language]), start / 100, now / 100))
        segments.append(words)
    return make_spoken(*segments, language=language)
