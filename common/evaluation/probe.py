"""A linear probe: logistic regression on frozen embeddings."""

import warnings

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from common.checks import check_ids, check_number
from common.errors import UserError
from common.evaluation.means import Mean
from common.evaluation.scoring import embeddings


def linear_probe(train: Tensor, train_labels: Tensor, test: Tensor, c: float = 0.1, iterations: int = 100) -> Tensor:
    """The classes that an L2-regularized logistic regression, fitted on standardized embeddings, predicts.

    Args:
        train: embeddings of shape (n, d).
        train_labels: shape (n,).
        test: shape (m, d).
        c: inverse strength of the regularization, as in scikit-learn. The same for every method: no validation sweep.
        iterations: of L-BFGS. The accuracy has settled long before the optimizer's own criterion is met, so the limit
            is the protocol and reaching it is no warning.

    Returns:
        int64 of shape (m,), on the CPU.

    Raises:
        UserError: embeddings are not finite, labels do not fit them or are all alike, or `c` is not above 0.
    """
    train, test = embeddings("train", train), embeddings("test", test)
    check_ids("train_labels", train_labels, len(train))
    check_number("c", c, above=0)
    if len(train_labels.unique()) < 2:
        raise UserError("linear_probe needs training labels of two classes at least; all are alike")
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=iterations))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(train.cpu().numpy(), train_labels.cpu().numpy())
    return torch.from_numpy(probe.predict(test.cpu().numpy()))


def linear_probe_accuracy(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, c: float = 0.1, iterations: int = 100
) -> Mean:
    """The share of test rows whose class `linear_probe` predicts; `test_labels` of shape (m,), the rest as there."""
    check_ids("test_labels", test_labels, len(test))
    return Mean(linear_probe(train, train_labels, test, c, iterations) == test_labels.cpu())
