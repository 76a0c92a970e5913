"""Explanations: Shapley values that add up, effects that are those of really changed rows, photos whose patch is found."""

import pickle
from functools import partial
from itertools import permutations
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import mmjax
from mmjax.cli.main import main
from mmjax.data.data_report import DataReport
from mmjax.datasets.splits import FOLDS, load_folds
from mmjax.errors import ConfigError, DataError, WorkdirError
from mmjax.explain import explain, page, permutation_importance
from mmjax.explain.answers import FoldAnswers
from mmjax.explain.cells import read_cells
from mmjax.explain.details import CellEffect
from mmjax.explain.permutation import _Fold
from mmjax.explain.pictures import explain_picture
from mmjax.explain.shapley import coalitions
from mmjax.inference import Ensemble
from mmjax.models.dropout import drop_modalities
from mmjax.new_table import open_new_table, open_training_table

if TYPE_CHECKING:  # pytest imports the plugin itself
    from tests.fixtures_trained import Trained

pytest_plugins = ("tests.fixtures_trained",)


@pytest.fixture(scope="module")
def ensemble(trained: "Trained") -> Ensemble:
    """Three modalities, and the codes of a frozen autoencoder."""
    return Ensemble.load(trained.workdir)


@pytest.fixture(scope="module")
def rows(trained: "Trained") -> pd.DataFrame:
    """Twenty rows, two of which lack a note or a photo."""
    frame = read_cells(trained.table)
    lacking = frame.index[(frame["note"] == "") | (frame["photo"] == "")][:2]
    return pd.concat([frame.loc[lacking], frame.drop(lacking).head(18)], ignore_index=True)


def probabilities(ensemble: Ensemble, frame: pd.DataFrame, trained: "Trained") -> np.ndarray:
    dataset = open_new_table(ensemble, frame, DataReport(), paths={"images": str(trained.photos)})
    return ensemble.predict(dataset).probabilities


def shapley_by_orders(value: dict[frozenset, float], players: int) -> list[float]:
    """By the definition: the mean over all orders of what a player adds to those before."""
    total, orders = [0.0] * players, list(permutations(range(players)))
    for order in orders:
        for place, player in enumerate(order):
            before = frozenset(order[:place])
            total[player] += (value[before | {player}] - value[before]) / len(orders)
    return total


def test_the_weights_are_those_of_the_definition():
    keep_SxM, weight_MxS = coalitions(4)
    value_S = np.random.default_rng(0).normal(size=16)
    game = {frozenset(np.flatnonzero(keep).tolist()): v for keep, v in zip(keep_SxM, value_S, strict=True)}
    np.testing.assert_allclose(weight_MxS @ value_S, shapley_by_orders(game, 4), atol=1e-12)
    assert not keep_SxM[0].any()
    assert keep_SxM[-1].all()


def test_many_players_are_drawn_and_still_add_up():
    """An additive game, with one pair that only counts together, which is halved between the two."""
    keep_SxM, weight_MxS = coalitions(13)
    value_S = keep_SxM @ np.arange(13.0) + 5 * (keep_SxM[:, 3] & keep_SxM[:, 7])
    found_M = weight_MxS @ value_S
    assert len(keep_SxM) < 2**12
    np.testing.assert_allclose(found_M.sum(), value_S[-1] - value_S[0], atol=1e-9)
    np.testing.assert_allclose(np.delete(found_M, [3, 7]), np.delete(np.arange(13.0), [3, 7]), atol=1e-9)
    np.testing.assert_allclose(found_M[[3, 7]], [5.5, 9.5], atol=1.0)


def test_shapley_values_add_up_to_what_is_predicted(ensemble: Ensemble, rows: pd.DataFrame, trained: "Trained"):
    found = explain(ensemble, rows, paths={"images": str(trained.photos)})
    p_NxK = probabilities(ensemble, rows, trained)
    np.testing.assert_allclose(found["probability"], p_NxK.max(axis=1), atol=1e-5)
    assert found["prediction"].tolist() == [ensemble.spec.classes[k] for k in p_NxK.argmax(axis=1)]
    total = found["base_value"] + found.filter(like="shapley_").sum(axis=1)
    np.testing.assert_allclose(total, found["probability"], atol=1e-5)
    np.testing.assert_array_equal(found["shapley_text"][rows["note"] == ""], 0.0)
    np.testing.assert_array_equal(found["shapley_image"][rows["photo"] == ""], 0.0)
    assert (found["shapley_image"][rows["photo"] != ""] != 0).any()


def test_the_class_asked_for_is_explained(ensemble: Ensemble, rows: pd.DataFrame, trained: "Trained"):
    found = explain(ensemble, rows, of="west", paths={"images": str(trained.photos)})
    west = ensemble.spec.classes.index("west")
    np.testing.assert_allclose(found["probability"], probabilities(ensemble, rows, trained)[:, west], atol=1e-5)
    assert set(found["prediction"]) == {"west"}
    with pytest.raises(ConfigError, match="no class 'nowhere'; its classes are north, east"):
        explain(ensemble, rows, of="nowhere")


def test_without_its_photo_a_row_is_predicted_as_one_that_has_none(ensemble: Ensemble, rows: pd.DataFrame, trained: "Trained"):
    """Breaks if the frozen autoencoder's codes still know the photo."""
    dataset = open_new_table(ensemble, rows, DataReport(), paths={"images": str(trained.photos)})
    answers = [FoldAnswers(ensemble, m, m.encoders.encode(dataset)) for m in ensemble.members]
    keep_SxM = np.array([[True, True, True], [name != "image" for name in ensemble.spec.modalities]])
    whole_NxK, blind_NxK = np.mean([fold.masked(keep_SxM) for fold in answers], axis=0)
    np.testing.assert_allclose(whole_NxK, probabilities(ensemble, rows, trained), atol=1e-5)
    np.testing.assert_allclose(blind_NxK, probabilities(ensemble, rows.assign(photo=""), trained), atol=1e-5)
    assert np.abs(whole_NxK - blind_NxK).max() > 1e-4


def test_effects_of_cells_and_words_are_those_of_rows_really_changed(
    ensemble: Ensemble, rows: pd.DataFrame, trained: "Trained"
):
    found = explain(ensemble, rows, paths={"images": str(trained.photos)})
    details, row = found.rows.details(5, "east"), rows.iloc[[5]].reset_index(drop=True)
    east = ensemble.spec.classes.index("east")
    before = probabilities(ensemble, row, trained)[0, east]
    assert {cell.column for cell in details.cells} == {
        c for c in ("material", "packing", "mass", "age", "note", "photo") if row[c][0]
    }
    for cell in details.cells:
        without = probabilities(ensemble, row.assign(**{cell.column: ""}), trained)[0, east]
        assert cell.effect == pytest.approx(before - without, abs=1e-5), cell.column
        assert bool(cell.words) == (cell.column == "note")
    note = next(cell for cell in details.cells if cell.column == "note")
    start, end, effect = note.words[2]
    less = f"{note.text[:start]} {note.text[end:]}"
    assert effect == pytest.approx(before - probabilities(ensemble, row.assign(note=less), trained)[0, east], abs=1e-5)
    (picture,) = details.pictures
    assert picture.overlay(picture.gradients).startswith(b"\x89PNG")


def test_gradients_of_a_photo_add_up_to_what_it_says_more_than_a_grey_one(
    ensemble: Ensemble, rows: pd.DataFrame, trained: "Trained"
):
    """Completeness, the axiom of integrated gradients; breaks if codes do not pass the gradient on."""
    dataset = open_new_table(ensemble, rows.iloc[[6]], DataReport(), paths={"images": str(trained.photos)})
    member = ensemble.members[0]
    answers = FoldAnswers(ensemble, member, member.encoders.encode(dataset))
    picture = explain_picture([answers], "image", "image/pixel", 1)
    photo = answers.arrays["image/pixel"]
    grey = answers.probabilities({"image/pixel": np.full_like(photo, 128)})[0, 1]
    assert picture.gradients.sum() == pytest.approx(answers.probabilities()[0, 1] - grey, abs=2e-3)


class OnlyAPatch:
    """A fold that looks at the upper right sixteenth of a photo alone."""

    def __init__(self, photo: np.ndarray):
        self.arrays = {"image/pixel": photo[None], "label": np.zeros(1, np.int32)}

    @staticmethod
    def logit(pixel: jax.Array) -> jax.Array:
        return (pixel[:, :8, 24:, 0].mean(axis=(1, 2)) - 128) / 20

    def probabilities(self, changed: dict[str, np.ndarray]) -> np.ndarray:
        p_n = np.asarray(jax.nn.sigmoid(self.logit(jnp.asarray(changed["image/pixel"], jnp.float32))))
        return np.stack([1 - p_n, p_n], axis=1)

    def gradient(self, name: str, values: np.ndarray, others: dict[str, np.ndarray], class_index: int) -> np.ndarray:
        del others
        assert (name, class_index) == ("image/pixel", 1)
        return np.asarray(jax.grad(lambda x: jax.nn.sigmoid(self.logit(x)).sum())(jnp.asarray(values)))


def test_the_patch_that_decides_is_what_both_ways_point_at():
    photo = np.random.default_rng(0).integers(60, 200, (32, 32, 3)).astype(np.uint8)
    photo[:8, 24:] = 230
    picture = explain_picture([OnlyAPatch(photo)], "image", "image/pixel", 1)  # type: ignore[list-item]
    patch = np.zeros((32, 32), bool)
    patch[:8, 24:] = True
    assert np.abs(picture.gradients[~patch]).max() < 1e-9
    assert picture.gradients[patch].min() > 0
    assert np.unravel_index(picture.occlusion.argmax(), (32, 32)) in list(zip(*np.nonzero(patch), strict=True))
    assert np.abs(picture.occlusion[12:, :]).max() < 1e-6


def test_a_column_is_as_important_as_shuffling_it_in_the_table_says(ensemble: Ensemble, trained: "Trained"):
    """The table is read by columns that two modalities share; breaks if one of them keeps its cells."""
    dataset = open_training_table(ensemble)
    fold_N = load_folds(trained.workdir / FOLDS, dataset.table.ids)
    found = permutation_importance(ensemble, dataset, fold_N, rows_per_fold=60, repeats=1)
    assert {(i.kind, i.name) for i in found} == {
        *(("modality", m) for m in ("tabular", "text", "image")),
        *(("column", c) for c in ("material", "packing", "mass", "age", "note", "photo")),
    }
    assert [i.kind for i in found] == ["modality"] * 3 + ["column"] * 6
    member, draw = ensemble.members[0], np.random.default_rng([0, 0])
    rows_n = np.sort(draw.permutation(np.flatnonzero(fold_N == 0))[:60])
    order_n, cells = draw.permutation(60), read_cells(trained.table, rows_n)
    for column in ("mass", "note"):
        shuffled = cells.assign(**{column: cells[column].to_numpy()[order_n]})
        values = []
        for frame in (cells, shuffled):
            read = open_new_table(ensemble, frame, DataReport(), paths={"images": str(trained.photos)}, labelled=True)
            asked = FoldAnswers(ensemble, member, member.encoders.encode(read))
            values.append(asked.metrics(asked.probabilities())["log_loss"])
        arrays = {k: v[rows_n] for k, v in member.encoders.encode(dataset).items()}
        from mmjax.explain.cells import Rereader

        fold = _Fold(
            FoldAnswers(ensemble, member, arrays), Rereader(ensemble), ["tabular", "text", "image"], [order_n], cells, 0
        )
        (change,) = fold.changes([("column", column)])
        assert change["log_loss"] == pytest.approx(values[1] - values[0], abs=1e-5)


def test_an_autoencoder_alone_has_nothing_to_explain(trained_autoencoder):
    ensemble = Ensemble.load(trained_autoencoder)
    with pytest.raises(WorkdirError, match="predicts no classes to explain"):
        FoldAnswers(ensemble, ensemble.members[0], {})


def test_from_python_and_the_command_line(trained: "Trained", rows: pd.DataFrame, tmp_path):
    model = mmjax.load(trained.workdir, verbose=False)
    frame = rows.head(6).set_index(pd.Index([f"row {i}" for i in range(6)]))
    found = model.explain(frame, images=str(trained.photos))
    assert isinstance(found, pd.DataFrame)
    assert found.index.tolist() == frame.index.tolist()
    shown = found.show("row 3")._repr_html_()
    assert frame["note"]["row 3"].split()[0] in shown
    assert "data:image/png;base64," in shown
    part = found.sort_values("probability").iloc[1:]
    assert part.show("row 3").text == found.show("row 3").text  # a part, in another order
    for lost in (found[["prediction"]], pickle.loads(pickle.dumps(found)), pd.concat([found, found])):
        with pytest.raises(DataError, match="ask the model again|names several"):
            lost.show("row 3")
    with pytest.raises(DataError, match="no row 99"):
        found.show(99)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    options = [f"--workdir={trained.workdir}", f"--data={tmp_path / 'rows.csv'}", f"--images={trained.photos}"]
    assert main(["explain", *options, f"--out={tmp_path / 'why.csv'}"]) == 0
    table = pd.read_csv(tmp_path / "why.csv")
    np.testing.assert_allclose(table["shapley_text"], found["shapley_text"], atol=1e-6)
    assert table["id"].tolist() == frame["parcel"].tolist()
    assert main(["explain", *options, f"--out={tmp_path / 'why.html'}", "--rows=2"]) == 0
    assert (tmp_path / "why.html").read_text().count("class='mmjax-row'") == 2
    assert main(["explain", *options, f"--out={tmp_path / 'why.txt'}"]) == 2
    assert main(["explain", *options, f"--out={tmp_path / 'rows.csv'}"]) == 2
    assert main(["explain", *options, f"--out={tmp_path / 'why.csv'}", "--of=nowhere"]) == 2


def test_cells_are_text_not_html():
    cell = CellEffect("<i>", "<script>alert(1)</script> two", 0.1, ((1, 7, 0.2), (26, 29, -0.1)))
    shown = page._cell(cell)
    assert "<script" not in shown
    assert "<i>" not in shown
    assert "&lt;<span" in shown


def test_modality_dropout_takes_its_share_and_does_not_know_how_many_devices_there_are():
    present_BxM = jax.random.bernoulli(jax.random.key(1), 0.8, (4000, 3))
    drop = partial(drop_modalities, jax.random.key(0), rate=0.3)
    left_BxM = drop(present_BxM, axis_name=None)
    assert not (left_BxM & ~present_BxM).any()
    assert float(left_BxM.sum() / present_BxM.sum()) == pytest.approx(0.7, abs=0.02)
    sharded = jax.vmap(partial(drop, axis_name="devices"), axis_name="devices")(present_BxM.reshape(4, 1000, 3))
    np.testing.assert_array_equal(sharded.reshape(4000, 3), left_BxM)
