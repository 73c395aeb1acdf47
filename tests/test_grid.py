"""Cells that train together: one that diverges costs no other its results."""

import jax
import pytest

from cxr_jax import datasets, experiment, grid
from cxr_jax.results import FILE
from cxr_jax.runs import Run
from cxr_jax.training import TrainingDiverged
from tests import tiny


@pytest.mark.parametrize("sick", [(), (1,), (0, 3)])
def test_neighbours_of_a_cell_that_diverges_are_trained_and_tested(tmp_path, monkeypatch, sick):
    cells = [Run(tiny.experiment(seed=index), tmp_path / str(index)) for index in range(5)]

    def train_together(some, data_dir, manual_dir):
        for cell in some:
            if int(cell.workdir.name) in sick:
                raise TrainingDiverged(f"cell {cell.workdir.name}: loss = nan")
        for cell in some:
            cell.workdir.mkdir()
            (cell.workdir / FILE).touch()

    monkeypatch.setattr(experiment, "train_together", train_together)
    monkeypatch.setattr(grid, "require_own", lambda cell: None)
    monkeypatch.setattr(datasets, "each", lambda *_: iter(()))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    if sick:
        with pytest.raises(TrainingDiverged, match=f"cell {sick[0]}: loss = nan"):
            grid.train(cells, 4, lambda cell: 0, None, None)
    else:
        grid.train(cells, 4, lambda cell: 0, None, None)
    assert [cell.workdir.exists() for cell in cells] == [index not in sick for index in range(5)]


def test_cells_that_do_not_fit_together_train_in_halves(tmp_path, monkeypatch):
    cells = [Run(tiny.experiment(seed=index), tmp_path / str(index)) for index in range(5)]
    sizes = []

    def train_together(some, data_dir, manual_dir):
        sizes.append(len(some))
        if len(some) > 1:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")

    monkeypatch.setattr(experiment, "train_together", train_together)
    assert grid._train_together(cells, None, None) == []
    assert sizes == [5, 2, 1, 1, 3, 1, 2, 1, 1]

    def fail(some, data_dir, manual_dir):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(experiment, "train_together", fail)
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        grid._train_together(cells, None, None)
