"""The languages of Whisper: codes, English names, and the way from one to the other.

The order is that of the language tokens in the vocabulary, so it must never change. A model knows the first 99 of them,
or all 100 (large-v3 and turbo, which add Cantonese).
"""

import difflib

from viska.errors import LanguageError

LANGUAGES: dict[str, str] = {
    "en": "english",
    "zh": "chinese",
    "de": "german",
    "es": "spanish",
    "ru": "russian",
    "ko": "korean",
    "fr": "french",
    "ja": "japanese",
    "pt": "portuguese",
    "tr": "turkish",
    "pl": "polish",
    "ca": "catalan",
    "nl": "dutch",
    "ar": "arabic",
    "sv": "swedish",
    "it": "italian",
    "id": "indonesian",
    "hi": "hindi",
    "fi": "finnish",
    "vi": "vietnamese",
    "he": "hebrew",
    "uk": "ukrainian",
    "el": "greek",
    "ms": "malay",
    "cs": "czech",
    "ro": "romanian",
    "da": "danish",
    "hu": "hungarian",
    "ta": "tamil",
    "no": "norwegian",
    "th": "thai",
    "ur": "urdu",
    "hr": "croatian",
    "bg": "bulgarian",
    "lt": "lithuanian",
    "la": "latin",
    "mi": "maori",
    "ml": "malayalam",
    "cy": "welsh",
    "sk": "slovak",
    "te": "telugu",
    "fa": "persian",
    "lv": "latvian",
    "bn": "bengali",
    "sr": "serbian",
    "az": "azerbaijani",
    "sl": "slovenian",
    "kn": "kannada",
    "et": "estonian",
    "mk": "macedonian",
    "br": "breton",
    "eu": "basque",
    "is": "icelandic",
    "hy": "armenian",
    "ne": "nepali",
    "mn": "mongolian",
    "bs": "bosnian",
    "kk": "kazakh",
    "sq": "albanian",
    "sw": "swahili",
    "gl": "galician",
    "mr": "marathi",
    "pa": "punjabi",
    "si": "sinhala",
    "km": "khmer",
    "sn": "shona",
    "yo": "yoruba",
    "so": "somali",
    "af": "afrikaans",
    "oc": "occitan",
    "ka": "georgian",
    "be": "belarusian",
    "tg": "tajik",
    "sd": "sindhi",
    "gu": "gujarati",
    "am": "amharic",
    "yi": "yiddish",
    "lo": "lao",
    "uz": "uzbek",
    "fo": "faroese",
    "ht": "haitian creole",
    "ps": "pashto",
    "tk": "turkmen",
    "nn": "nynorsk",
    "mt": "maltese",
    "sa": "sanskrit",
    "lb": "luxembourgish",
    "my": "myanmar",
    "bo": "tibetan",
    "tl": "tagalog",
    "mg": "malagasy",
    "as": "assamese",
    "tt": "tatar",
    "haw": "hawaiian",
    "ln": "lingala",
    "ha": "hausa",
    "ba": "bashkir",
    "jw": "javanese",
    "su": "sundanese",
    "yue": "cantonese",
}

_ALIASES: dict[str, str] = {
    "burmese": "my",
    "castilian": "es",
    "flemish": "nl",
    "haitian": "ht",
    "letzeburgesch": "lb",
    "mandarin": "zh",
    "moldavian": "ro",
    "moldovan": "ro",
    "panjabi": "pa",
    "pushto": "ps",
    "sinhalese": "si",
    "valencian": "ca",
}

TO_LANGUAGE_CODE: dict[str, str] = {name: code for code, name in LANGUAGES.items()} | _ALIASES


def language_code(name_or_code: str) -> str:
    """The code of a language given by code, English name or alias, in any case: "German" -> "de".

    Raises LanguageError, with the nearest known spellings, for anything else.
    """
    wanted = name_or_code.lower()
    if wanted in LANGUAGES:
        return wanted
    if wanted in TO_LANGUAGE_CODE:
        return TO_LANGUAGE_CODE[wanted]
    raise LanguageError(_unknown(name_or_code))


def _unknown(given: str) -> str:
    close = _close_matches(given.lower())
    hint = f" (did you mean {' or '.join(close)}?)" if close else ""
    return (
        f"unknown language {given!r}{hint}: "
        f"give one of Whisper's {len(LANGUAGES)} languages as a code (en, de, ja) or an English name (english)."
    )


def _close_matches(wanted: str) -> list[str]:
    """Up to three known spellings; a regional tag such as pt-br leads to its language."""
    main_tag = wanted.replace("_", "-").split("-")[0]
    tagged = [main_tag] if main_tag in LANGUAGES else []
    names = difflib.get_close_matches(wanted, list(TO_LANGUAGE_CODE), n=3)
    return (tagged + [name for name in names if name not in tagged])[:3]
