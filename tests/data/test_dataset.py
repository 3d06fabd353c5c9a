"""The digest of a data set: equal columns, equal digest, and nothing else."""

from __future__ import annotations

import torch

from diffteach.data.dataset import digest
from diffteach.types import Batch


def columns(n: int = 4) -> tuple[Batch, torch.Tensor]:
    obs = torch.arange(n * 3.0).reshape(n, 3)
    batch = Batch(obs, obs[:, :2], obs[:, 0], obs + 1, torch.zeros(n))
    return batch, torch.arange(n) % 2 == 1


def test_the_digest_is_that_of_the_columns_alone() -> None:
    batch, ends = columns()
    same = digest(*columns())
    assert digest(batch, ends) == same
    transposed = batch.obs.t().contiguous().t()  # the same numbers, laid out otherwise
    assert digest(batch._replace(obs=transposed), ends) == same


def test_every_column_shape_and_kind_counts() -> None:
    batch, ends = columns()
    others = [digest(batch, ~ends)]
    for name, column in batch._asdict().items():
        others.append(digest(batch._replace(**{name: column + 1}), ends))
        others.append(digest(batch._replace(**{name: column.double()}), ends))
    wide = batch.obs.reshape(2, 6)
    narrow = Batch(wide, batch.act, batch.rew, batch.next_obs, batch.done)
    others.append(digest(narrow, ends))
    assert len({digest(batch, ends), *others}) == len(others) + 1
