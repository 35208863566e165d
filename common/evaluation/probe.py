"""A linear probe: logistic regression on frozen embeddings."""

import warnings

from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor


def linear_probe_accuracy(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, c: float = 0.1, iterations: int = 100
) -> float:
    """Accuracy of an L2-regularized logistic regression, fitted on standardized training embeddings.

    Args:
        train: embeddings of shape (n, d).
        train_labels: shape (n,).
        test: shape (m, d).
        test_labels: shape (m,).
        c: inverse strength of the regularization, as in scikit-learn. The same for every method: no validation sweep.
        iterations: of L-BFGS. The accuracy has settled long before the optimizer's own criterion is met, so the limit
            is the protocol and reaching it is no warning.
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=iterations))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(train.cpu().numpy(), train_labels.cpu().numpy())
    return float(probe.score(test.cpu().numpy(), test_labels.cpu().numpy()))
