"""Places where the course is run: clusters, machines without a compiler, other GPUs, other output, too little memory, full disks.

Each kind has a table, so that the next case is a line.
"""

import errno
import io
import os
import shutil
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

import course_lib
from course_lib import checkpoints, cli, devices, files, recipes, results, terminal, training
from course_lib.denoising import dncnn, published
from course_lib.recipes import denoising
from course_lib.weights import WeightsError

REPOSITORY = Path(course_lib.__file__).resolve().parents[1]
HELPER = Path(__file__).with_name("helpers_distributed.py")
TINY = ["depth=2", "width=4", "batch_size=2", "steps=4"]


@pytest.fixture(autouse=True)
def nowhere_in_particular(monkeypatch):
    monkeypatch.setenv("COURSE_PRECISION", "32-true")
    monkeypatch.setattr(devices, "default", lambda: torch.device("cpu"))
    for name in [name for name in os.environ if name.startswith("SLURM_")] + ["ENVIRONMENT"]:
        monkeypatch.delenv(name, raising=False)


def settings(**changes) -> dncnn.Settings:
    return dncnn.Settings(**{"depth": 2, "width": 4, "patch_size": 16, "scales": (1.0,), "batch_size": 2, "steps": 2, **changes})


def train(method=dncnn, checkpoint=None, **changes):
    plan = settings(**changes)
    pool = dncnn.prepare([torch.zeros(1, 32, 32, dtype=torch.uint8)], plan)
    return training.fit(dncnn.DnCNN(plan), pool, method, plan, checkpoint=checkpoint, progress=False)


# --- SLURM ----------------------------------------------------------------------------------------------------------------

STEP = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1", "SLURM_NTASKS": "2", "SLURM_PROCID": "1"}
SLURM = {
    # variables -> tasks that train together, rank of this one
    "no SLURM": ({}, 1, 0),
    "the number of tasks alone": ({"SLURM_NTASKS": "8"}, 1, 0),
    "a shell of salloc": ({"SLURM_NTASKS": "8", "SLURM_JOB_ID": "3", "SLURM_NNODES": "2"}, 1, 0),
    "a batch script": ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "ENVIRONMENT": "BATCH"}, 1, 0),
    "a task of srun": (STEP, 2, 1),
    "a task of srun in a batch script": ({**STEP, "SLURM_NTASKS": "8", "ENVIRONMENT": "BATCH"}, 2, 1),
    "one task of srun in a larger job": ({**STEP, "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, 1, 0),
    "a task, by the variables of the job": ({"SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1"}, 2, 1),
    "a shell that srun --pty opened": ({**STEP, "SLURM_JOB_NAME": "bash", "SLURM_PROCID": "0"}, 1, 0),
}


@pytest.mark.parametrize(("variables", "tasks", "rank"), SLURM.values(), ids=SLURM)
def test_who_trains_together_under_slurm(monkeypatch, variables, tasks, rank):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (devices._srun_tasks(), devices.rank()) == (tasks, rank)
    if tasks == 1:
        assert train().steps == [2], "alone, and without an error of another library"


NODES = {
    # tasks, nodes, rank, GPUs that a task sees (None: CPU) -> on each node, nodes, local rank, node
    "one node": (4, 1, 3, None, (4, 1, "3", "0")),
    "two nodes": (4, 2, 3, None, (2, 2, "1", "1")),
    "all GPUs of a node": (4, 2, 2, 2, (2, 2, "0", "1")),
    "one GPU each": (4, 2, 3, 1, (1, 4, "0", "3")),
}


@pytest.mark.parametrize(("tasks", "nodes", "rank", "gpus", "expected"), NODES.values(), ids=NODES)
def test_what_lightning_is_told_of_slurm(monkeypatch, tasks, nodes, rank, gpus, expected):
    monkeypatch.setattr(os, "environ", {**os.environ, "SLURM_STEP_NUM_NODES": str(nodes), "SLURM_PROCID": str(rank)})
    if gpus:
        monkeypatch.setattr(devices, "default", lambda: torch.device("cuda"))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    found = devices._shared_by_srun(tasks)
    assert (*found, os.environ["SLURM_LOCALID"], os.environ["SLURM_NODEID"]) == expected
    assert [os.environ[f"SLURM_{name}"] for name in ("NTASKS", "NNODES", "NTASKS_PER_NODE")] == [str(tasks), str(found[1]), str(found[0])]


def test_tasks_that_cannot_be_shared_out_to_nodes(monkeypatch):
    monkeypatch.setattr(os, "environ", {**os.environ, "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "0"})
    with pytest.raises(ValueError, match="srun started 3 tasks on 2 nodes: give each node as many"):
        devices._shared_by_srun(3)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="needs torch.distributed")
def test_two_tasks_of_srun_train_one_network(tmp_path):
    """Two real processes with the variables that srun sets: they meet, and one of them writes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {**os.environ, **STEP, "SLURM_JOB_ID": "7", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1",
              "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""}  # fmt: skip
    command = [sys.executable, str(HELPER), "short", str(tmp_path)]
    tasks = [
        subprocess.Popen(command, env={**common, "SLURM_PROCID": str(rank)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    try:
        told = [task.communicate(timeout=300) for task in tasks]
    finally:
        for task in tasks:
            task.kill()
    assert [task.returncode for task in tasks] == [0, 0], [errors[-3000:] for _, errors in told]
    assert [out.count("6 of 6 steps") for out, _ in told] == [1, 0], "the first one prints"
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(2))
    assert first["sizes"] == second["sizes"] == [3] * 6, "half of the batch each"
    assert all(torch.equal(tensor, second["model"][name]) for name, tensor in first["model"].items())


# --- compilers and GPUs ---------------------------------------------------------------------------------------------------

COMPILERS = {
    "no compiler": RuntimeError("InvalidCxxCompiler: No working C++ compiler found in g++\n\nSet TORCHDYNAMO_VERBOSE=1"),
    "no Triton": ImportError("Cannot find a working triton installation."),
    "an error without words": OSError(),
}


@pytest.mark.parametrize("error", COMPILERS.values(), ids=COMPILERS)
def test_without_a_compiler_training_goes_on(monkeypatch, error):
    def fails(*arguments, **options):
        raise error

    devices.no_compiler.cache_clear()
    try:
        monkeypatch.setattr(torch, "compile", fails)
        with pytest.warns(UserWarning, match="torch.compile does not work here .*the training goes on without it") as told:
            assert train(compile=True).steps == [2]
        assert [str(warning.message).count("\n") for warning in told] == [0]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            train(compile=False)
    finally:
        devices.no_compiler.cache_clear()


def test_a_machine_without_a_compiler():
    """A real one: a process that finds no C++ compiler."""
    code = ("import torch; from course_lib import devices; devices.default = lambda: torch.device('cpu')\n"
            "print(devices.compiling(True, torch.device('cpu')), devices.compiling(None, torch.device('cpu')))")  # fmt: skip
    environment = {**os.environ, "CXX": "no-such-compiler", "PYTHONPATH": str(REPOSITORY), "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout == "False False\n", done.stderr
    assert "torch.compile does not work here" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("kind", "expected"), [("cpu", torch.channels_last), ("cuda", torch.channels_last), ("mps", torch.contiguous_format)]
)
def test_the_layout_of_images(kind, expected):
    assert devices.memory_format(torch.device(kind)) is expected


# --- output ---------------------------------------------------------------------------------------------------------------

ENCODINGS = {"cp1252": "noise of sigma = 25", "ascii": "noise of sigma = 25", "utf-8": "noise of σ = 25"}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_output_in_another_encoding(monkeypatch, encoding):
    stream = io.TextIOWrapper(raw := io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(SystemExit) as end:
        cli.main(["evaluate", "--help"])
    assert end.value.code == 0
    assert cli.main(["list"]) == 0
    told = raw.getvalue().decode(encoding)
    assert ENCODINGS[encoding] in told and "dncnn_s: " in told


def test_there_may_be_no_output_at_all(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)  # as where standard output is closed
    monkeypatch.setattr(sys, "stderr", None)
    assert cli.main(["list"]) == 0
    assert terminal.Careful(None).write("text") == 4


@pytest.mark.skipif(sys.platform == "win32", reason="closed pipes of POSIX")
@pytest.mark.parametrize("command", [["-m", "course_lib.cli", "list"], ["-c", "from course_lib.cli import main; exit(main(['list']))"]])
def test_as_a_module_and_into_a_closed_pipe(command):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "") and "dncnn_s: " in done.stdout
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, *command], env=environment, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=300)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


# --- memory and disks -----------------------------------------------------------------------------------------------------

OUT_OF_MEMORY = {
    # error -> is it a lack of memory?
    "CUDA": (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
    "Apple's GPU": (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
    "CPU": (RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"), True),
    "Windows": (RuntimeError("[enforce fail] data. DefaultCPUAllocator: not enough memory: you tried to allocate"), True),
    "Python": (MemoryError(), True),
    "a mistake": (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
}


@pytest.mark.parametrize(("error", "lack"), OUT_OF_MEMORY.values(), ids=OUT_OF_MEMORY)
def test_too_little_memory(tmp_path, monkeypatch, capsys, error, lack):
    def batch(pool, draws, plan):
        if draws.step == 1:
            raise error
        return draw(pool, draws, plan)

    draw = dncnn.batch
    monkeypatch.setattr(dncnn, "batch", batch)
    expected, told = (devices.OutOfMemoryError, r"smaller batch_size \(it is 2\).*a\.ckpt has what was") if lack else (RuntimeError, "mat1")
    with pytest.raises(expected, match=told):
        train(checkpoint=tmp_path / "a.ckpt", save_every=1)
    assert checkpoints.open_file(tmp_path / "a.ckpt")["step"] == 1

    def fails(options):
        raise error

    monkeypatch.setattr(cli, "_list", fails)
    if lack:
        assert cli.main(["list"]) == 1
        assert capsys.readouterr().err.startswith("course: error: out of memory: ")
    else:
        with pytest.raises(RuntimeError, match="mat1"):
            cli.main(["list"])


DISKS = {errno.ENOSPC: "disk full", errno.EDQUOT: "disk full", errno.EROFS: "Read-only file system", errno.EACCES: "Permission denied"}


@pytest.mark.parametrize("number", DISKS, ids=errno.errorcode.get)
def test_what_a_disk_says(tmp_path, monkeypatch, number):
    def fails(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fails)
    for error, attempt in (
        (files.WriteError, lambda: files.write(tmp_path / "a", b"1")),
        (checkpoints.CheckpointError, lambda: train(checkpoint=tmp_path / "a.ckpt")),
    ):
        with pytest.raises(error, match=rf"could not be written \(.*{DISKS[number]}"):
            attempt()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_device_as_a_checkpoint(monkeypatch, tmp_path, capsys, resume):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "dncnn_s", *TINY, "--checkpoint", "/dev/full", *resume]) == 1
    assert "/dev/full is a device, not a file: give the path of a file" in capsys.readouterr().err
    assert Path("/dev/full").is_char_device() and not list(Path("/dev").glob("full.*"))


def test_files_of_macos_and_others_beside_the_records(home, capsys):
    folder = results.path("a", "b").parent
    folder.mkdir(parents=True)
    record = min((REPOSITORY / "data" / "results").glob("dncnn_s.*.json"))
    shutil.copy(record, folder)
    for name in (f"._{record.name}", ".DS_Store", "notes.json", f"{record.name}.0123abcd.unfinished"):
        (folder / name).write_bytes(b"\x00\x05\x16\x07")
    assert results.recorded() == [tuple(record.name.split(".")[:2])]
    assert cli.main(["list"]) == 0 and "recorded" in capsys.readouterr().out


# --- networks from elsewhere, and what comes out of them ------------------------------------------------------------------


@pytest.mark.parametrize("copy", ["ema.{}", "module.{}", "average.module.{}"])
def test_two_networks_in_one_file_are_refused(copy):
    state = dncnn.DnCNN(settings(batch_norm=False)).state_dict()
    both = {**state, **{copy.format(name): tensor + 1 for name, tensor in state.items()}}
    first = next(iter(state))
    with pytest.raises(WeightsError, match=f"{first} and {copy.format(first)} have the same number and kind: .*more than one network"):
        published.convolutions(both, eps=1e-5)
    assert len(published.convolutions(state, eps=1e-5)) == 2


DENOISERS = {name: recipe for name, recipe in denoising.RECIPES.items() if "quick" in recipe.presets and not recipe.presets["quick"].needs}


@pytest.mark.parametrize("name", DENOISERS)
def test_what_a_network_gives_can_be_trained_on(name):
    recipe, preset = recipes.find(name, "quick")
    network = recipe.network(preset.settings, seed=0).eval()
    channels = getattr(network, "channels", 3)  # CBDNet is for colour only
    given = network.denoise(torch.rand(1, channels, 32, 32, generator=torch.Generator().manual_seed(0)), 0.1)
    assert not given.requires_grad and not given.is_inference()
    weight = torch.ones((), requires_grad=True)
    (weight * given).square().sum().backward()  # "Inference tensors cannot be saved for backward"
    assert weight.grad is not None


