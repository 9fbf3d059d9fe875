"""The table of metrics: every name that a recipe or a record has is in it, in the unit that it is measured in."""

import pytest

from course_lib import recipes, reported, results


@pytest.mark.parametrize(
    ("name", "unit", "better", "words"),
    [
        ("psnr", "dB", "higher", "PSNR of the restored images"),
        ("psnr_7.5", "dB", "higher", "PSNR of the restored images, with noise of σ = 7.5"),
        ("input_x2", "dB", "higher", "PSNR of the images as the network gets them, after bicubic reduction by 2"),
        ("psnr_q40", "dB", "higher", "PSNR of the restored images, after JPEG of quality 40"),
        ("psnr_photons30", "dB", "higher", "PSNR of the restored images, with 30 photons at white"),
        ("psnr_lost50", "dB", "higher", "PSNR of the restored images, with 50 % of the pixels lost"),
        ("psnr_text25", "dB", "higher", "PSNR of the restored images, with text over 25 % of the pixels"),
        ("psnr_impulses70", "dB", "higher", "PSNR of the restored images, with impulses on 70 % of the pixels"),
        ("clamped_10", "dB", "higher", "PSNR of the restored images, clamped and not rounded to 8 bits, with noise of σ = 10"),
        ("eer_0", "%", "lower", "equal error rate of pairs, with noise of σ = 0"),
        ("rank1of5_shot", "%", "higher", "identified with five templates of each person, of queries that are moved, turned and lit anew"),
        ("iou_after", "%", "higher", "intersection over union of masks, of images after"),
        ("ap_before", "%", "higher", "average precision of pixels, of images before"),
        ("accuracy_swapped", "%", "higher", "classified correctly, with the backgrounds of the other class"),
        ("rotation", "%", "higher", "turns recognised"),
        ("knn_block2", "%", "higher", "classified correctly by the nearest training images, in the features of block 2"),
        ("pixels_eer_25", "%", "lower", "equal error rate of pairs, with noise of σ = 25, by the distance of pixels"),
    ],
)
def test_named(name, unit, better, words):
    found = reported.named(name)
    assert (found.unit, found.better, found.words) == (unit, better, words)
    assert found.tolerance == {"dB": 0.02, "%": 0.2}[unit]


@pytest.mark.parametrize("name", ["", "sharpness", "psnr_", "psnr_strong", "pixels", "pixels_", "eer_0_0", "25", "_25", "camera_psnr"])
def test_names_that_no_metric_has(name):
    if name == "psnr_":  # nothing after the line: the metric itself
        assert reported.named("psnr_").unit == "dB"
        return
    with pytest.raises(ValueError, match=f'there is no metric "{name}": its first part is one of psnr, clamped'):
        reported.named(name)


def test_everything_that_recipes_and_records_have_is_in_the_table():
    names = {metric for recipe in recipes.RECIPES.values() for figures in recipe.paper.values() for metric in figures}
    for recipe in recipes.RECIPES.values():
        names |= {metric for preset in recipe.presets.values() for test in preset.tests.values() for metric in test.metrics}
    for run in results.recorded():
        names |= {metric for figures in results.read(*run)["metrics"].values() for metric in figures}
    assert len(names) > 60
    assert {reported.named(name).unit for name in names} == {"dB", "%"}


@pytest.mark.parametrize(
    ("name", "condition", "sigma"),
    [("psnr", "", 0), ("psnr_7.5", "with noise of σ = 7.5", 7.5), ("clamped_10", "with noise of σ = 10", 10),
     ("pixels_eer_25", "with noise of σ = 25", 25),
     ("input_x2", "after bicubic reduction by 2", 0), ("psnr_photons30", "with 30 photons at white", 0)],
)  # fmt: skip
def test_conditions(name, condition, sigma):
    assert (reported.condition(name), reported.sigma_255(name)) == (condition, sigma)


def test_help_names_every_metric():
    assert all(f"  {name}" in reported.explained() for name in reported.METRICS)
