"""Records of schema 1 become records of schema 2 that say the same, and what they cannot know is None."""

import json
import shutil

import pytest

import convert_records
from course_lib import results

OLD = {
    "schema": 1, "recipe": "gradual_text", "preset": "paper", "title": "Gradual denoising, trained further on text",
    "settings": {"steps": 3, "batch_size": 2, "drop_at": 0.6}, "data": {"train": "pages: 60 images", "test": {"set12": "Set12"}},
    "seed": 0, "device": "CPU", "precision": "32-true", "versions": {"torch": "2.11"}, "commit": "abc", "source_hash": "0",
    "seconds": 1.5, "steps": 3, "throughput": {"patches_per_second": 4.0}, "metrics": {"set12": {"psnr": 29.0}},
    "per_image": {"set12": {"psnr": {"a": 28.0, "b": 30.0}}}, "paper": {}, "short": True, "note": "a test",
    "weights": {"file": "gradual_text.safetensors", "sha256": "12", "half_precision": True, "moved_db": 0.001},
}  # fmt: skip


def old(**changes) -> dict:
    found = {**OLD, **changes}
    return {**found, "sha256": results.digest(found)}


def test_what_is_no_record_is_left_as_it_is(home, capsys):
    file = home / "a.json"
    file.write_text("[]", encoding="utf-8")
    assert convert_records.main([str(file)]) == 1 and file.read_text(encoding="utf-8") == "[]"
    assert "a record is a JSON object, but this is list" in capsys.readouterr().err


def test_an_old_record_is_converted_in_place(home, capsys):
    file = home / "gradual_text.paper.json"
    file.write_text(json.dumps(old()), encoding="utf-8")
    assert convert_records.main([str(file)]) == 0
    found = results.open_file(file)  # complete, with its hash
    start = {"recipe": "gradual", "preset": "paper", "part": "", "sha256": None}  # which weights these were was not kept
    data = {"train": "pages: 60 images"}
    assert found["about"] == {"recipe": "gradual_text", "preset": "paper", "data": data, "needs": {"start": start}}
    unknown = {"device": None, "versions": None, "commit": None}
    assert found["measured"] == [{"data": "set12", "source": "Set12", "metrics": ["psnr"], **unknown}]
    assert found["throughput"] == {"samples_per_second": 4.0} and found["weights"]["moved"] == 0.001
    same = ("title", "settings", "seed", "device", "precision", "versions", "commit", "seconds", "steps", "metrics", "per_image", "paper")
    assert all(found[name] == OLD[name] for name in (*same, "short", "note", "source_hash"))
    assert not {"recipe", "preset", "data"} & set(found)


def test_a_record_of_several_seeds_has_no_weights(home):
    several = {name: value for name, value in OLD.items() if name not in ("weights", "per_image")}
    several |= {"recipe": "triplet", "preset": "faces", "seed": [0, 1], "data": {"train": "faces", "test": {"faces": "ORL"}},
                "metrics": {"faces": {"eer_0": 12.0}}, "per_seed": {"faces": {"eer_0": {"seed 0": 11.0, "seed 1": 13.0}}}}  # fmt: skip
    found = convert_records.converted({**several, "sha256": results.digest(several)})
    assert found["about"]["needs"] == {} and "weights" not in found and found["per_seed"] == several["per_seed"]
    results.check(found)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (old(schema=2), "schema 1 is expected, but this record has schema 2"),
        ({**old(), "seed": 1}, "was altered after its run"),
        (old(recipe="dncn_s"), "unknown recipe"),
        ({"schema": 1}, "was altered"),
    ],
)
def test_what_cannot_be_converted_is_left_as_it_is(home, capsys, content, message):
    good, bad = home / "good.json", home / "bad.json"
    good.write_text(json.dumps(old()), encoding="utf-8")
    bad.write_text(json.dumps(content), encoding="utf-8")
    before = bad.read_bytes()
    assert convert_records.main([str(bad), str(good), str(home / "missing.json")]) == 1
    assert bad.read_bytes() == before and results.open_file(good)["about"]["recipe"] == "gradual_text"
    told = capsys.readouterr().err
    assert message in told and told.count("left as it is") == 2
    shutil.rmtree(home / "data")
