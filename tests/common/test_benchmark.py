import hashlib

import torch

from common.benchmark import digest


def test_a_digest_takes_in_bytes_in_order() -> None:
    x = torch.arange(6).view(2, 3)
    expected = hashlib.sha256(b"".join(int(v).to_bytes(8, "little") for v in x.flatten()) + b"ab" + b"['c', 1]")
    assert digest(x, b"a", "b", ["c", 1]) == expected.hexdigest()
    # What a view shows counts, not how it lies in memory.
    assert digest(x.T) == digest(x.T.contiguous()) != digest(x)
