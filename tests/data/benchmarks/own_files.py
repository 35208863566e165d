"""Small data of somebody's own: drawn pictures, captions, pairs of sentences, a BEIR folder, tones with transcripts."""

import csv
import json
import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image, ImageDraw

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "white": (240, 240, 240),
           "yellow": (230, 220, 40)}  # fmt: skip
SAID = "red blue green small large fast slow dog cat bird car house tree walks runs sleeps near far under over"
WORDS = SAID.split()


def draw(path: Path, colour: str, rng: random.Random, shape: str = "ellipse") -> None:
    picture = Image.new("RGB", (40, 36), (rng.randrange(60),) * 3)
    left, top, side = rng.randrange(2, 14), rng.randrange(2, 12), rng.randrange(12, 22)
    getattr(ImageDraw.Draw(picture), shape)((left, top, left + side, top + side), fill=COLOURS[colour])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def pictures(folder: Path, each: int, colours: Iterable[str] = COLOURS) -> Path:
    """A folder for each colour."""
    rng = random.Random(0)
    for colour in colours:
        for i in range(each):
            draw(folder / colour / f"{i}.png", colour, rng)
    return folder


def captions(path: Path, count: int, each: int = 1) -> Path:
    """A csv of pictures with `each` captions."""
    rng = random.Random(1)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "caption"])
        for i in range(count):
            colour, shape = rng.choice(list(COLOURS)), rng.choice(["ellipse", "rectangle"])
            draw(path.parent / f"shapes/{i}.jpg", colour, rng, shape)
            rows.writerows([f"shapes/{i}.jpg", f"{colour} {shape}, number {i} of {k}"] for k in range(each))
    return path


def lines(path: Path, rows: Iterable[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def pairs(path: Path, count: int, anchors: int | None = None) -> Path:
    """A jsonl of sentences and what is left of them when a word is dropped and they are shuffled."""
    rng = random.Random(2)
    said = [[*rng.sample(WORDS, 5), str(i)] for i in range(anchors or count)]
    rows = ((said[i % len(said)], i) for i in range(count))
    return lines(path, ({"anchor": " ".join(a), "positive": " ".join([*rng.sample(a, 4), f"x{i}"])} for a, i in rows))


def beir(folder: Path, documents: int, queries: int) -> Path:
    """Every other query has a second answer, and a document that was judged not to be one."""
    rng = random.Random(3)
    (folder / "qrels").mkdir(parents=True)
    texts = [" ".join(rng.sample(WORDS, 8)) for _ in range(documents)]
    lines(folder / "corpus.jsonl", ({"_id": f"d{i}", "title": f"T{i}", "text": t} for i, t in enumerate(texts)))
    asked = [{"_id": f"q{i}", "text": " ".join(rng.sample(texts[i].split(), 4))} for i in range(queries)]
    lines(folder / "queries.jsonl", asked)
    judged = [f"q{i}\td{i}\t1\n" + (f"q{i}\td{i + 1}\t2\nq{i}\td{i + 2}\t0\n" if i % 2 else "") for i in range(queries)]
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))
    return folder


def sounds(path: Path, count: int) -> Path:
    """A csv of wav files, in each a tone a word, at other pitches for other words."""
    rng = random.Random(4)
    (path.parent / "tones").mkdir(exist_ok=True)
    rows = [["audio", "transcript"]]
    for i in range(count):
        words = rng.sample(range(8), 3)
        time = np.arange(4800) / 16_000
        wave = np.concatenate([0.3 * np.sin(2 * np.pi * 300 * 1.3**word * time) for word in words])
        soundfile.write(path.parent / f"tones/{i}.wav", wave, 16_000)
        rows.append([f"tones/{i}.wav", " ".join(WORDS[word] for word in words)])
    path.write_text("".join(",".join(row) + "\n" for row in rows))
    return path
