"""Small encoders that need no download or come out of a packaged source, offered to `common.encoders` by name."""

from pathlib import Path

from common.encoders.weights import offer
from data.sources.minilm import read_minilm

FOLDER = Path(__file__).parent

offer("mini-bert", lambda file: (FOLDER / "mini_bert" / file).read_bytes())
offer("mini-clip", lambda file: (FOLDER / "mini_clip" / file).read_bytes())
offer("slot-bert", lambda file: (FOLDER / "slot_bert" / file).read_bytes())
offer("minilm", lambda file: read_minilm(file)[file])
