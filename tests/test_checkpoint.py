"""Checkpoints come back bit for bit, or are refused with a reason; damage never costs more than one of them."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import struct
from small_disk import small_disk

from mmjax.config import Settings
from mmjax.errors import CheckpointError, WorkdirError
from mmjax.io import checkpoint, manifest


class Inner(struct.PyTreeNode):
    params: dict
    empty: dict
    key: jax.Array


def make_tree(seed=0):
    rng = np.random.default_rng(seed)
    nan = np.array([0x7FC00001, 0xFFC00000, 0x80000000, 1], np.uint32).view(np.float32)  # payloads, -0, a denormal
    params = {"Dense_0": {"kernel": rng.normal(size=(7, 5)).astype(np.float32), "bias": jnp.zeros(5)}, "odd/na.me [0]": nan}
    params |= {"half": rng.normal(size=3).astype(ml_dtypes.bfloat16), "none": np.zeros((0, 4), np.float32)}
    state = Inner(params, {}, jax.random.key_data(jax.random.key(seed)))
    return {"state": state, "sums": (np.int32(3), np.array(True), np.float64(1 / 3), 2**40)}


def same_bits(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    leaves = (map(np.asarray, jax.tree.leaves(tree)) for tree in (one, other))
    for a, b in zip(*leaves, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert a.tobytes() == b.tobytes()


def fill(directory, steps=(1, 2, 3), keep=3):
    for step in steps:
        checkpoint.save(directory, step, make_tree(step), {"epoch": step}, "config", keep=keep)


def restore(directory, like=None, config="config"):
    said = []
    return checkpoint.restore(directory, lambda: make_tree() if like is None else like, config, said.append), said


def arrays(directory):
    """The largest file of a checkpoint's arrays."""
    return max((p for p in (directory / "arrays").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def flip(file, at=None, bit=0):
    content = bytearray(file.read_bytes())
    content[len(content) // 2 if at is None else at] ^= 1 << bit
    file.write_bytes(content)


def test_round_trip_is_bit_identical(tmp_path):
    """Breaks when a dtype, a NaN's payload, an empty leaf, a Python number or the tree's structure is not kept."""
    fill(tmp_path / "new" / "folder")
    (step, tree, host), said = restore(tmp_path / "new" / "folder")
    assert (step, host, said) == (3, {"epoch": 3}, [])
    same_bits(make_tree(3), tree)
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), np.asarray(x).dtype), make_tree())
    same_bits(make_tree(3), restore(tmp_path / "new" / "folder", abstract)[0][1])


def test_no_checkpoint_is_none(tmp_path):
    assert restore(tmp_path / "absent") == (None, [])


def test_keeps_the_newest_k(tmp_path):
    for keep in (1, 2):
        fill(tmp_path, steps=range(keep * 10, keep * 10 + 4), keep=keep)
        assert sorted(p.name for p in tmp_path.iterdir()) == [f"{keep * 10 + s:08d}" for s in range(4)][-keep:]


@pytest.mark.parametrize(
    "damage", ["flip", "truncate", "manifest", "no manifest", "lost file", "added file", "link", "swap", "rename"]
)
def test_damaged_newest_is_named_and_the_one_before_is_used(tmp_path, damage):
    """Breaks when one kind of damage is not seen: orbax itself would read, or crash on, such files."""
    fill(tmp_path)
    newest = tmp_path / "00000003"
    file = arrays(newest)
    if damage == "flip":
        flip(file)
    elif damage == "truncate":
        file.write_bytes(file.read_bytes()[:-1])
    elif damage == "manifest":
        text = (newest / "manifest.json").read_text()
        (newest / "manifest.json").write_text(text.replace('"epoch": 3', '"epoch": 7'))
    elif damage == "no manifest":
        (newest / "manifest.json").unlink()
    elif damage == "lost file":
        file.unlink()
    elif damage == "added file":
        (newest / "arrays" / "extra").write_text("x")
    elif damage == "swap":  # two files of one checkpoint, each whole
        other = min((p for p in (newest / "arrays").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
        shutil.move(file, tmp_path / "elsewhere")
        shutil.move(other, file)
        shutil.move(tmp_path / "elsewhere", other)
    elif damage == "rename":  # an older state under a newer number
        shutil.rmtree(newest)
        shutil.copytree(tmp_path / "00000001", newest)
    else:
        shutil.move(file, tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
    (step, tree, host), said = restore(tmp_path)
    assert (step, host) == (2, {"epoch": 2})
    same_bits(make_tree(2), tree)
    assert len(said) == 1
    assert "00000003 is damaged" in said[0]
    # The damaged one does not count among those kept, and is gone with the next save.
    checkpoint.save(tmp_path, 3, make_tree(3), {}, "config", keep=1)
    assert [p.name for p in tmp_path.iterdir() if p.name != "elsewhere"] == ["00000003"]
    assert restore(tmp_path)[1] == []


def test_every_bit_of_the_manifest_counts(tmp_path):
    """Each flipped bit is found, or leaves a manifest that says the same (a blank that became another blank)."""
    fill(tmp_path, steps=[1])
    file = tmp_path / "00000001" / "manifest.json"
    whole, body = file.read_bytes(), manifest.verify(file.parent)
    rng = np.random.default_rng(0)
    for at in rng.choice(len(whole), 150, replace=False):
        flip(file, at, int(rng.integers(8)))
        with contextlib.suppress(manifest.DamagedError):
            assert manifest.verify(file.parent) == body
        file.write_bytes(whole)


def test_all_damaged_is_an_error_and_stays_one(tmp_path):
    """Breaks when a second start takes the folder for an empty one and trains from the start."""
    fill(tmp_path, steps=(1, 2))
    for name in ("00000001", "00000002"):
        flip(arrays(tmp_path / name))
    for _ in range(2):
        with pytest.raises(
            CheckpointError, match="Every checkpoint in .* is damaged .*00000002: .*00000001: .*delete that folder"
        ):
            restore(tmp_path)


def change(tree, kind):
    params = dict(tree["state"].params)
    if kind == "missing":
        params["extra"] = np.zeros(3, np.float32)
    elif kind == "added":
        del params["half"]
    elif kind == "shape":
        params["Dense_0"] = params["Dense_0"] | {"kernel": np.zeros((7, 6), np.float32)}
    else:
        params["half"] = params["half"].astype(np.float32)
    return tree | {"state": tree["state"].replace(params=params)}


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", r"state\.params\.extra is missing there and float32\[3\] here"),
        ("added", r"state\.params\.half is bfloat16\[3\] there and missing here"),
        ("shape", r"state\.params\.Dense_0\.kernel is float32\[7, 5\] there and float32\[7, 6\] here"),
        ("dtype", r"state\.params\.half is bfloat16\[3\] there and float32\[3\] here"),
    ],
)
def test_other_tree_is_refused_and_named(tmp_path, kind, said):
    """Breaks when a partial restore is possible (orbax issue 2972); an older checkpoint must not be tried either."""
    fill(tmp_path)
    with pytest.raises(CheckpointError, match=said):
        restore(tmp_path, change(make_tree(), kind))
    assert len(list(tmp_path.iterdir())) == 3


def test_arrays_that_are_not_what_a_forged_manifest_says_are_refused(tmp_path):
    """Breaks when the manifest's word is taken for the arrays': hashes can be made anew by whoever changes the files."""
    fill(tmp_path, steps=[1])
    folder = tmp_path / "00000001"
    body = manifest.verify(folder)
    body["tree"]["state.params.Dense_0.kernel"] = [[5, 7], "float32"]
    (folder / "manifest.json").unlink()
    manifest.seal(folder, body)
    kernel = {"kernel": np.zeros((5, 7), np.float32), "bias": np.zeros(5, np.float32)}
    like = make_tree()
    like["state"] = like["state"].replace(params=like["state"].params | {"Dense_0": kernel})
    with pytest.raises(CheckpointError, match=r"kernel is float32\[7, 5\] there and float32\[5, 7\] here"):
        restore(tmp_path, like)


def test_other_config_is_refused(tmp_path):
    fill(tmp_path)
    with pytest.raises(CheckpointError, match="another config"):
        restore(tmp_path, config="other")
    settings = Settings().to_dict()
    other = settings | {"optim": settings["optim"] | {"eps": 1e-8}}
    later = settings | {"train": settings["train"] | {"checkpoint_seconds": 1.0}}
    prints = [checkpoint.config_fingerprint(c) for c in (settings, other, later)]
    assert prints[0] != prints[1]
    assert prints[0] == prints[2]


def test_what_a_killed_save_leaves_is_not_taken_and_not_kept(tmp_path):
    fill(tmp_path, steps=(1, 2))
    shutil.copytree(tmp_path / "00000002", tmp_path / "00000003.tmp")
    (tmp_path / "00000003.tmp" / "manifest.json").unlink()
    assert restore(tmp_path)[0][0] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["00000001", "00000002"]


def test_kill_between_the_two_renames_of_a_replacement(tmp_path, monkeypatch):
    """Breaks when a checkpoint that is written again can be lost half-way, even with keep=1."""
    fill(tmp_path, steps=[1])
    replace = manifest.Path.replace

    def die(path, target):
        if path.name == "00000001.tmp":
            raise SystemExit  # not an error that is cleaned up after
        return replace(path, target)

    monkeypatch.setattr(manifest.Path, "replace", die)
    with pytest.raises(SystemExit):
        fill(tmp_path, steps=[1])
    monkeypatch.undo()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["00000001.old", "00000001.tmp"]
    (step, tree, _), said = restore(tmp_path)
    assert (step, said) == (1, [])
    same_bits(make_tree(1), tree)
    fill(tmp_path, steps=[1])  # and the same step can be written again
    assert [p.name for p in tmp_path.iterdir()] == ["00000001"]


KILLED = """
import itertools, sys
import numpy as np
from mmjax.io import checkpoint
tree = {"a": np.zeros((50, 50), np.float32)}
for step in itertools.count(1):
    checkpoint.save(__import__("pathlib").Path(sys.argv[1]), step, {"a": tree["a"] + step}, {"step": step}, "c", keep=1)
    print(step, flush=True)
"""


@pytest.mark.parametrize("wait", [0.0, 0.006, 0.015])
def test_sigkill_inside_a_save_never_loses_the_last_checkpoint(tmp_path, wait):
    """Breaks when the old checkpoint goes before the new one is whole, even with keep=1."""
    like = {"a": np.zeros((50, 50), np.float32)}
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    seen = 0
    for line in process.stdout:
        seen = int(line)
        if seen == 4:
            break
    time.sleep(wait)
    process.kill()
    rest = process.stdout.read().split()
    process.wait()
    process.stdout.close()
    (step, tree, host), said = restore(tmp_path, like, "c")
    assert said == []
    assert step == host["step"] >= max([seen, *map(int, rest)])
    np.testing.assert_array_equal(tree["a"], like["a"] + step)


def test_full_disk_is_a_clear_error_and_the_last_checkpoint_is_intact(tmp_path):
    big = {"a": np.random.default_rng(0).normal(size=(100, 1000)).astype(np.float32)}
    with small_disk(tmp_path / "disk", "700k") as disk:
        checkpoint.save(disk / "c", 1, big, {}, "config")
        with pytest.raises(WorkdirError, match=r"cannot write .*00000002: the disk or quota is full \(0\.00 GiB are needed\)"):
            checkpoint.save(disk / "c", 2, big, {}, "config")
        assert [p.name for p in (disk / "c").iterdir()] == ["00000001"]
        (step, tree, _), said = restore(disk / "c", big)
        assert (step, said) == (1, [])
        same_bits(big, tree)
        checkpoint.save(disk / "c", 2, {"a": big["a"][:10]}, {}, "config")  # saving still works once it fits


def test_read_only_folder(tmp_path, monkeypatch):
    """The tests may run as root, whom permissions do not stop, so the system's refusal is played."""
    fill(tmp_path)

    def refuse(*_, **__):
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(checkpoint.Path, "mkdir", refuse)
    with pytest.raises(WorkdirError, match="00000004: Read-only file system; choose a folder"):
        fill(tmp_path, steps=[4])
    monkeypatch.undo()
    assert restore(tmp_path)[0][0] == 3


def test_models(tmp_path):
    """A finished module: the same format and refusals, in the folder itself."""
    folder = tmp_path / "fold_0" / "classifier"
    assert not checkpoint.has_model(folder)
    checkpoint.save_model(folder, make_tree(), {"best_epoch": 4}, "config")
    assert checkpoint.has_model(folder)
    tree, meta = checkpoint.load_model(folder, make_tree(), "config")
    assert meta == {"best_epoch": 4}
    same_bits(make_tree(), tree)
    with pytest.raises(CheckpointError, match="another config"):
        checkpoint.load_model(folder, make_tree(), "other")
    checkpoint.save_model(folder, make_tree(1), {}, "config")
    same_bits(make_tree(1), checkpoint.load_model(folder, make_tree(), "config")[0])
    flip(arrays(folder))
    with pytest.raises(
        CheckpointError, match=r"classifier is damaged: the content of arrays/.* has changed; delete the folder .*fold_0"
    ):
        checkpoint.load_model(folder, make_tree(), "config")
    checkpoint.remove(folder)
    assert not folder.exists()


def test_a_part_of_a_model(tmp_path):
    """What is asked for comes back; nothing is made up for what is not there, and nothing is left out unasked."""
    folder, whole = tmp_path / "m", make_tree()
    checkpoint.save_model(folder, whole, {"best_epoch": 4}, "config")
    part = {"state": {"params": {"Dense_0": whole["state"].params["Dense_0"]}}}
    tree, meta = checkpoint.load_model(folder, part, "config", part=True)
    same_bits(part, tree)
    assert meta == checkpoint.load_model(folder, {}, "config", part=True)[1] == {"best_epoch": 4}
    with pytest.raises(CheckpointError, match=r"sums.0 is int32\[\] there and missing here"):
        checkpoint.load_model(folder, part, "config")
    with pytest.raises(CheckpointError, match=r"more is missing there and float32\[2\] here"):
        checkpoint.load_model(folder, part | {"more": np.zeros(2, np.float32)}, "config", part=True)


def test_a_tree_without_arrays(tmp_path):
    checkpoint.save_model(tmp_path / "m", {"batch_stats": {}}, {}, "config")
    assert checkpoint.load_model(tmp_path / "m", {"batch_stats": {}}, "config")[0] == {"batch_stats": {}}


def test_leaves_with_one_name_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="one dotted path"):
        checkpoint.save_model(tmp_path / "m", {"a.b": np.ones(1), "a": {"b": np.ones(1)}}, {}, "config")


def test_nothing_is_pickled(tmp_path):
    """Breaks when a file of a checkpoint is a pickle; the manifest is JSON."""
    fill(tmp_path, steps=[1])
    for file in (p for p in tmp_path.rglob("*") if p.is_file()):
        assert not file.read_bytes().startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"))
    assert json.loads((tmp_path / "00000001" / "manifest.json").read_text())["body"]["step"] == 1
