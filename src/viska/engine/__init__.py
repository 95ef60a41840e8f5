"""The fast path: explicit caches, fused projections, small number formats, windows decoded together.

`plan` says which number format runs where; `kernels` are the linear maps; `encoder`, `decoder` and `cache` the
network; `rules` and `search` choose tokens for many windows at once in a `lane`; `engine` puts these together;
`inference` is the same network behind the seam of `viska.decoding`. The reference path is the oracle of all of it.
"""

from viska.engine.engine import Engine as Engine
from viska.engine.engine import Heard as Heard
from viska.engine.engine import engine_for as engine_for
from viska.engine.engine import fits_a_lane as fits_a_lane
from viska.engine.lane import Lane as Lane
from viska.engine.lane import same_lane as same_lane
