"""Two real processes (gloo, on the CPU), started by ``torchrun`` and by ``fabric run``: the same training, shared out.

``helpers_distributed.py`` is what they run.
"""

import importlib.util
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import course_lib
from course_lib import devices, results, weights
from course_lib.denoising import dncnn
from course_lib.metric_learning import embedding, siamese, triplet
from course_lib.settings import stored
from course_lib.training import fit

HELPER = Path(__file__).with_name("helpers_distributed.py")
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node=2"]

pytestmark = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="needs torch.distributed with gloo"
)


def launched(launcher: list[str], mode: str, folder: Path, seconds: float = 300.0) -> tuple[list[dict], str]:
    """What the two processes found, and the standard output of both."""
    environment = {**os.environ, "PYTHONPATH": str(Path(course_lib.__file__).parents[1]), "OMP_NUM_THREADS": "1",
                   "CUDA_VISIBLE_DEVICES": "", "COURSE_PRECISION": "32-true"}  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", *launcher, str(HELPER), mode, str(folder)], env=environment, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    try:
        out, errors = process.communicate(timeout=seconds)
    finally:
        if process.poll() is None:
            process.terminate()  # the launcher ends the processes that it started
            process.communicate(timeout=60)
    assert process.returncode == 0, errors[-6000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)], out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def both(folder):
    return launched(TORCHRUN, "everything", folder)


def same_parameters(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a if "running" not in k and "tracked" not in k)


def test_both_processes_end_with_the_same_weights(both):
    (first, second), _ = both
    initial = dncnn.DnCNN(dncnn.Settings(depth=3, width=8), seed=1).state_dict()
    for training in ("adam", "sgd"):
        assert same_parameters(first[training]["model"], second[training]["model"])
        assert not first[training]["training"]
        assert not second[training]["training"]
    assert not same_parameters(first["adam"]["model"], initial)


def test_both_processes_end_with_the_same_network(both):
    (first, second), _ = both
    assert all(torch.equal(tensor, second["adam"]["model"][name]) for name, tensor in first["adam"]["model"].items())


def test_the_global_batch_is_shared_out_and_no_two_batches_are_equal(both):
    found, _ = both
    batches = []
    for process in found:
        assert process["adam"]["sizes"] == [3] * 6
        for noisy, clean in process["adam"]["batches"]:
            assert noisy.shape == clean.shape == (3, 1, 16, 16)
            batches.append(noisy - clean)
    assert len(batches) == 12
    assert not any(torch.allclose(a, b, atol=1e-3) for i, a in enumerate(batches) for b in batches[:i])


def test_one_step_of_two_processes_is_one_step_on_both_batches_together(both):
    found, _ = both
    noisy, clean = (torch.cat([process["sgd"]["batches"][0][i] for process in found]) for i in range(2))
    assert len(noisy) == 6
    plan = dncnn.Settings(depth=3, width=8, patch_size=16, batch_norm=False)
    initial, model = dncnn.DnCNN(plan, seed=1), dncnn.DnCNN(plan, seed=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
    dncnn.step(model, (noisy, clean), plan)[0].backward()
    optimizer.step()
    for process in found:
        for name, expected in model.state_dict().items():
            assert (expected - initial.state_dict()[name]).abs().max() > 1e-4, name
            assert torch.allclose(process["sgd"]["model"][name], expected, atol=1e-6, rtol=0), name


def test_one_process_alone_writes_the_checkpoint(both, folder):
    (first, second), _ = both
    assert first["put_in_place"] == ["a.ckpt"] * 3  # at the start, after 3 steps, at the end
    assert second["put_in_place"] == []
    content = torch.load(folder / "a.ckpt", weights_only=True)
    assert content["step"] == 6
    assert content["settings"]["batch_size"] == 6
    assert list(content["model"]) == list(first["adam"]["model"])  # no "module." of the wrapper
    assert all(torch.equal(tensor, content["model"][name]) for name, tensor in first["adam"]["model"].items())
    assert content["history"]["values"]["loss"] == first["adam"]["losses"]
    assert not [path.name for path in folder.iterdir() if "unfinished" in path.name]


def test_one_process_can_go_on_from_the_checkpoint_of_two(both, folder, monkeypatch):
    monkeypatch.setattr(devices, "default", lambda: torch.device("cpu"))
    middle = torch.load(folder / "middle.ckpt", weights_only=True)
    assert middle["step"] == 3
    plan = stored(dncnn.Settings, middle["settings"])
    sizes = []

    class Method:
        step = staticmethod(dncnn.step)

        @staticmethod
        def batch(data, draws, share):
            sizes.append((draws.step, share.batch_size))
            return dncnn.batch(data, draws, share)

    data = dncnn.prepare([torch.randint(0, 256, (1, 40, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))], plan)
    history = fit(dncnn.DnCNN(plan), data, Method, plan, checkpoint=folder / "middle.ckpt", resume=True, progress=False)
    assert sizes == [(3, 6), (4, 6), (5, 6)]
    assert history.steps == [2, 3, 4, 6]
    assert torch.load(folder / "middle.ckpt", weights_only=True)["step"] == 6


def test_a_batch_that_cannot_be_shared_out_is_refused(both):
    for process in both[0]:
        assert process["not_divisible"] == "batch_size = 5 cannot be shared out evenly to 2 processes."


def test_both_processes_report_at_the_same_steps_and_one_of_them_prints(both):
    (first, second), out = both
    assert first["adam"]["steps"] == second["adam"]["steps"] == [2, 3, 4, 6]
    assert first["auto"] == second["auto"] == "32-true"
    finished = [line for line in out.splitlines() if line.startswith("DnCNN on CPU")]
    assert len(finished) == 2  # two trainings with a bar
    assert re.search(r": 6 of 6 steps .*, loss ", finished[0])


@pytest.mark.skipif(not importlib.util.find_spec("click"), reason="needs click, as `fabric run` does")
def test_fabric_run(tmp_path, both):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fabric = ["lightning_fabric.cli", "--accelerator", "cpu", "--devices", "2", "--main-port", str(port)]
    found, out = launched(fabric, "short", tmp_path)
    for process, by_torchrun in zip(found, both[0], strict=True):
        assert process["sizes"] == [3] * 6
        assert same_parameters(process["model"], by_torchrun["adam"]["model"])
    assert out.count("6 of 6 steps") == 1


def test_two_processes_write_one_record(home):
    found, out = launched(TORCHRUN, "record", home)
    assert found == [{"one": 0, "seeds": 0}] * 2
    assert results.recorded() == [("dncnn_s", "quick"), ("triplet", "digits")]
    one, seeds = results.read("dncnn_s", "quick"), results.read("triplet", "digits")
    assert one["steps"] == 3 and seeds["seed"] == [0, 1] and seeds["steps"] == 4
    assert list(one["per_image"]["photos"]["psnr"]) == ["one", "two"]
    assert weights.path("dncnn_s", "quick").is_file(), "and its weights"
    assert out.count("trained in") == 1 and out.count("95 % interval over 2 seeds") == len(seeds["metrics"]["digits"])


def test_a_full_disk_in_one_process_stops_none(tmp_path):
    (first, second), _ = launched(TORCHRUN, "full-disk", tmp_path)
    assert same_parameters(first["model"], second["model"])
    assert len(first["warned"]) == 1
    assert "could not be written" in first["warned"][0]
    assert torch.load(tmp_path / "a.ckpt", weights_only=True)["step"] == 6


def test_ctrl_c_ends_both_processes_after_the_same_step(tmp_path):
    (first, second), _ = launched(TORCHRUN, "interrupted", tmp_path)
    assert first["interrupted"]
    assert second["interrupted"]
    assert len(first["sizes"]) == len(second["sizes"]) == torch.load(tmp_path / "a.ckpt", weights_only=True)["step"]
    assert same_parameters(first["model"], second["model"])


def test_metric_losses_of_two_processes_have_the_gradient_of_the_whole_batch(tmp_path):
    """Which image is whose negative is decided over both processes' images, as if one process had them all."""
    both, _ = launched(TORCHRUN, "metric-losses", tmp_path)
    cases = [(siamese, {"form": "squared"}), (siamese, {"form": "unsquared"})]
    cases += [(triplet, {"mining": mining}) for mining in ("all", "random", "semi-hard", "batch-hard")]
    assert len(both[0]) == len(cases)
    for (method, form), first, second in zip(cases, *both, strict=True):
        assert first["loss"] == second["loss"] and torch.equal(first["gradient"], second["gradient"])
        assert not torch.equal(first["batch"][0], second["batch"][0]), "each process has images of its own"
        whole = [torch.cat(parts) for parts in zip(first["batch"], second["batch"], strict=True)]
        plan = method.Settings(height=16, width=16, dimension=8, images=2, batch_size=12, margin=0.7, **form)
        model = embedding.Embedder(plan, seed=1)
        loss, _ = method.step(model, tuple(whole), plan)
        loss.backward()
        expected = torch.cat([p.grad.flatten() for p in model.parameters()])
        assert first["loss"] == pytest.approx(loss.item(), rel=1e-5)
        assert expected.norm() > 1e-3
        cosine = torch.nn.functional.cosine_similarity(first["gradient"].double(), expected.double(), dim=0)
        assert cosine.item() == pytest.approx(1, abs=1e-6), (method.__name__, form)
        assert torch.allclose(first["gradient"], expected, rtol=1e-3, atol=1e-5 * expected.abs().max().item())
