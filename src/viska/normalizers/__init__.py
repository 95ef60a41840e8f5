"""Text made comparable, as Whisper's evaluation does before it counts word errors.

Radford et al. (2022), appendix C. The names and results are those of `whisper.normalizers`; the rules are the package
whisper-normalizer's, which `pip install '.[eval]'` brings. Without it, importing this raises ViskaError.
"""

from viska.normalizers.basic import BasicTextNormalizer as BasicTextNormalizer
from viska.normalizers.english import EnglishNumberNormalizer as EnglishNumberNormalizer
from viska.normalizers.english import EnglishSpellingNormalizer as EnglishSpellingNormalizer
from viska.normalizers.english import EnglishTextNormalizer as EnglishTextNormalizer
