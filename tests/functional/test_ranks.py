"""Ranks and their correlation are those of scipy.stats."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from metarl.functional.ranks import average_ranks, spearman


@pytest.mark.parametrize("different", [2, 5, 1000])
def test_ranks_and_their_correlation_are_scipys(different: int) -> None:
    rng = np.random.default_rng(different)
    one, other = (rng.integers(different, size=50).astype(float) for _ in range(2))
    assert average_ranks(one).tolist() == rankdata(one).tolist()
    assert spearman(one, other) == pytest.approx(spearmanr(one, other).statistic)
