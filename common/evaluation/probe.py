"""A linear probe: logistic regression on frozen embeddings."""

import warnings

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from common.benchmark import Metrics
from common.checks import check_ids, check_number
from common.errors import UserError
from common.evaluation.means import Mean
from common.evaluation.scoring import embeddings


def fitted_probe(train: Tensor, train_labels: Tensor, c: float = 0.1, iterations: int = 100) -> Pipeline:
    """An L2-regularized logistic regression on standardized embeddings.

    Args:
        train: embeddings of shape (n, d).
        train_labels: shape (n,).
        c: inverse strength of the regularization, as in scikit-learn. The same for every method: no validation sweep.
        iterations: of L-BFGS. The accuracy has settled long before the optimizer's own criterion is met, so the limit
            is the protocol and reaching it is no warning.

    Raises:
        UserError: embeddings are not finite, labels do not fit them or are all alike, or `c` is not above 0.
    """
    train = embeddings("train", train)
    check_ids("train_labels", train_labels, len(train))
    check_number("c", c, above=0)
    if len(train_labels.unique()) < 2:
        raise UserError("linear_probe needs training labels of two classes at least; all are alike")
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=iterations))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(train.cpu().numpy(), train_labels.cpu().numpy())
    return probe


def linear_probe(train: Tensor, train_labels: Tensor, test: Tensor, c: float = 0.1, iterations: int = 100) -> Tensor:
    """The classes that `fitted_probe` predicts for `test` of shape (m, d): int64 of shape (m,), on the CPU.

    Raises:
        UserError: as there, or test embeddings are not finite.
    """
    test = embeddings("test", test)
    return torch.from_numpy(fitted_probe(train, train_labels, c, iterations).predict(test.cpu().numpy()))


def linear_probe_accuracy(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, c: float = 0.1, iterations: int = 100
) -> Mean:
    """The share of test rows whose class `linear_probe` predicts; `test_labels` of shape (m,), the rest as there."""
    check_ids("test_labels", test_labels, len(test))
    return Mean(linear_probe(train, train_labels, test, c, iterations) == test_labels.cpu())


def linear_probe_metrics(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, c: float = 0.1, iterations: int = 100
) -> Metrics:
    """How right `fitted_probe` is on the test rows, and how sure of what is right.

    Returns:
        `top1`, and `log_likelihood`, the mean log-probability of the right class in nats: 0 at best, and -87 (of the
        least float32) for a class that the probe never saw.

    Raises:
        UserError: as there; test embeddings are not finite, or `test_labels` do not fit them.
    """
    test = embeddings("test", test)
    check_ids("test_labels", test_labels, len(test))
    probe, labels = fitted_probe(train, train_labels, c, iterations), test_labels.cpu()
    classes = torch.from_numpy(probe.classes_)
    found = torch.from_numpy(probe.predict_proba(test.cpu().numpy())).double()
    right = labels[:, None] == classes
    of_right = found.where(right, 0).sum(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
    return {"top1": Mean(classes[found.argmax(dim=1)] == labels), "log_likelihood": Mean(of_right.log())}
