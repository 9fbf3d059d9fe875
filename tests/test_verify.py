"""Shipped networks are evaluated again: what still agrees passes, what was altered or no longer agrees is named."""

import json
from pathlib import Path

import pytest
import torch

from course_lib import cli, data, recording, results, runs, verify, weights
from course_lib.denoising import dncnn

CHANGES = {"depth": "2", "width": "4", "steps": "3", "batch_size": "2", "scales": "1"}
HERE = {"photos", "bsd68", "set12", "set5", "bsd400"}


@pytest.fixture
def home(home, monkeypatch):
    """A home with one recorded run of a tiny network; six images of growing size stand for every data set."""
    monkeypatch.setenv("COURSE_PRECISION", "32-true")
    here = set(HERE)

    def six_images(name, split=None, *, color=False):
        if name not in here:
            raise data.DataError(f"{name}: 6 of 6 files are missing")
        draws = torch.Generator().manual_seed(len(name))
        shapes = [(1, 60, 52)] * 6 if name == "bsd400" else [(1, 20 + 4 * i, 24) for i in range(6)]
        images = tuple(torch.randint(0, 256, shape, dtype=torch.uint8, generator=draws) for shape in shapes)
        return data.Dataset(name, images, f"drawn for {name}", tuple("fedcba"))

    monkeypatch.setattr(data, "load", six_images)
    monkeypatch.chdir(home)
    runs.train("dncnn_s", "paper", changes=CHANGES, checkpoint=home / "a.ckpt")
    recording.record("dncnn_s", "paper", home / "a.ckpt")
    return here


def test_an_untouched_record_agrees_on_the_four_smallest_images(home):
    rows = verify.verify("dncnn_s", "paper")
    assert [(row.data, row.metric, row.images) for row in rows] == [("bsd68", "psnr", 4), ("set12", "psnr", 4)]
    assert all(row.agrees and abs(row.difference) < 1e-3 for row in rows)
    record = results.read("dncnn_s")
    assert rows[0].recorded == pytest.approx(sum(record["per_image"]["bsd68"]["psnr"][n] for n in "fedc") / 4)


def test_full_takes_all_images_of_all_sets(home):
    rows = verify.verify("dncnn_s", "paper", full=True)
    assert [(row.data, row.images) for row in rows] == [("bsd68", 6), ("set12", 6), ("photos", 6)]
    assert all(row.agrees for row in rows)


def test_without_the_data_the_embedded_photos_are_verified(home, capsys):
    home.discard("bsd68")
    assert [row.data for row in verify.verify("dncnn_s", "paper")] == ["set12", "photos"]
    assert "bsd68 is not here: not verified. Set COURSE_DATA" in capsys.readouterr().out
    with pytest.raises(data.DataError, match="bsd68"):
        verify.verify("dncnn_s", "paper", full=True)


def test_a_network_that_computes_something_else_is_found(home, monkeypatch):
    """Such as after a change of the library: weights and record are what they were."""
    original = dncnn.DnCNN.forward
    monkeypatch.setattr(dncnn.DnCNN, "forward", lambda self, noisy: 0.9 * original(self, noisy))
    rows = verify.verify("dncnn_s", "paper")
    assert not any(row.agrees for row in rows)
    assert cli.main(["verify"]) == 1


def test_other_test_noise_is_found(home, monkeypatch):
    monkeypatch.setattr("course_lib.denoising.evaluation.test_noise", lambda clean, sigma, index, seed: clean + sigma)
    assert not any(row.agrees for row in verify.verify("dncnn_s", "paper"))


def test_altered_weights_are_refused(home):
    file = weights.path("dncnn_s")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(weights.WeightsError, match="truncated, altered or of another run"):
        verify.verify("dncnn_s", "paper")


def test_an_altered_record_is_refused(home):
    file = results.path("dncnn_s", "paper")
    content = json.loads(file.read_text(encoding="utf-8"))
    content["settings"]["sigma_255"] = [24.0, 24.0]
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(results.RecordError, match="altered after its run"):
        verify.verify("dncnn_s", "paper")


def test_other_data_is_found(home):
    """A record, sound in itself, whose images this data set does not have."""
    record = results.read("dncnn_s")
    per_image = record["per_image"]["bsd68"]["psnr"]
    record["per_image"]["bsd68"]["psnr"] = {name.upper(): value for name, value in per_image.items()}
    results.write(record)
    with pytest.raises(results.RecordError, match="no psnr for c of bsd68: it is of other data"):
        verify.verify("dncnn_s", "paper")


def test_damaged_data_are_an_error_not_missing_data(home, monkeypatch):
    def damaged(name, split=None, *, color=False):
        raise data.AlteredError("BSD68/test001.png is truncated or altered")

    monkeypatch.setattr(data, "load", damaged)
    with pytest.raises(data.DataError, match="truncated"):
        verify.verify("dncnn_s", "paper")


def test_the_command(home, capsys):
    assert cli.main(["verify"]) == 0
    out = capsys.readouterr().out
    assert "dncnn_s, paper preset: record and weights have their hashes" in out
    assert out.count(": agrees") == 2 and out.endswith("2 figures of 1 records were compared; all of them agree\n")
    assert "  bsd68 psnr (4 of 6 images): recorded" in out and "  not compared: photos\n" in out
    assert cli.main(["verify", "dncnn_s"]) == 0
    capsys.readouterr()
    assert cli.main(["verify", "dncnn_b"]) == 1
    assert "nothing is recorded of dncnn_b" in capsys.readouterr().err
    assert cli.main(["verify", "dncn_s"]) == 1
    assert "did you mean dncnn_s?" in capsys.readouterr().err


def test_the_command_where_nothing_can_be_compared(home, capsys, monkeypatch):
    monkeypatch.setattr(verify, "verify", lambda *run, full: [])
    assert cli.main(["verify"]) == 0
    assert capsys.readouterr().out == "no figure was compared\n"


@pytest.mark.parametrize(("difference", "agrees"), [(0.0, True), (0.0199, True), (-0.0199, True), (0.021, False), (-0.1, False)])
def test_the_tolerance_has_two_sides(difference, agrees):
    assert verify.Row("bsd68", "psnr", 4, 30.0, 30.0, difference, of=4).agrees is agrees


def test_differences_that_cancel_in_the_mean_are_found(home):
    """Two images of a record changed by hand (with a hash that fits), the mean as it was."""
    record = results.read("dncnn_s")
    values = record["per_image"]["bsd68"]["psnr"]
    values["f"] += 0.05
    values["e"] -= 0.05
    results.write(record)
    rows = verify.verify("dncnn_s", "paper")
    assert [row.agrees for row in rows] == [False, True] and abs(abs(rows[0].difference) - 0.05) < 1e-3


def test_nothing_recorded(home, capsys):
    results.path("dncnn_s", "paper").unlink()
    assert cli.main(["verify"]) == 1
    assert "nothing is recorded" in capsys.readouterr().err


def test_a_record_without_weights_is_only_checked_for_its_hash(home, capsys):
    """As of several trainings; an altered one is found all the same."""
    record = {**results.read("dncnn_s"), "seed": [0, 1]}
    record["about"] |= {"recipe": "triplet", "preset": "faces"}
    of_seeds = {"seed 0": 29.0, "seed 1": 30.0}
    record["per_seed"] = {name: {metric: of_seeds for metric in by_metric} for name, by_metric in record.pop("per_image").items()}
    record["metrics"] = {name: dict.fromkeys(by_metric, 29.5) for name, by_metric in record["metrics"].items()}
    del record["weights"], record["sha256"]
    file = results.write(record)
    assert verify.verify("triplet", "faces") == []
    assert cli.main(["verify", "triplet"]) == 0 and "ship no weights; its hash is right" in capsys.readouterr().out
    file.write_text(file.read_text().replace('"short": true', '"short": false'))
    with pytest.raises(results.RecordError, match="was altered"):
        verify.verify("triplet", "faces")


@pytest.mark.parametrize(("metric", "difference", "agrees"), [("psnr_25", 0.1, False), ("eer_0", 0.1, True), ("eer_0", 0.21, False)])
def test_every_metric_has_a_tolerance_of_its_own(metric, difference, agrees):
    assert verify.Row("faces", metric, 4, 30.0, 30.0, difference, of=4).agrees is agrees


def test_where_there_are_only_means_full_compares_them(home, monkeypatch, capsys):
    """As of a data set with more images than a record lists."""
    monkeypatch.setattr(recording, "MOST_IMAGES", 5)
    runs.train("dncnn_s", "paper", changes=CHANGES, checkpoint=Path("b.ckpt").resolve())
    record = recording.record("dncnn_s", "paper", Path("b.ckpt").resolve())
    assert "per_image" not in record and list(record["per_seed"]["bsd68"]["psnr"]) == ["seed 0"]
    assert verify.verify("dncnn_s", "paper") == []
    assert "bsd68, photos, set12: means only, which --full verifies." in capsys.readouterr().out
    rows = verify.verify("dncnn_s", "paper", full=True)
    assert [(row.data, row.images, row.agrees) for row in rows] == [("bsd68", 6, True), ("set12", 6, True), ("photos", 6, True)]
