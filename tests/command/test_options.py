"""The command: help, options, exit codes, terminals."""

import os
import subprocess
from importlib.util import find_spec

import pytest
from processes import command, environment, fail, run, succeed

import fastsm
from fastsm._command import main


def test_help():
    """`fastsm` and `fastsm --help` print the same, with every exit code."""
    output = succeed("--help")
    assert output == succeed()
    assert all(f"  {code}  " in output or f"  {code} " in output for code in (0, 1, 2, 3, 4, 130))
    assert all(name in output for name in ("train", "evaluate", "predict", "runs", "info", "demo"))


def test_help_imports_little():
    """Help imports neither training nor matplotlib."""
    code = (
        "import sys; from fastsm._command import main; main(['train', '--help'])\n"
        "print({'fastsm.training', 'fastsm.data', 'matplotlib'} & set(sys.modules))"
    )
    python = [*command()[:2], "-c", code]
    result = subprocess.run(python, env=environment(), capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize("name", ["train", "evaluate", "predict", "runs", "info", "demo", "bench"])
def test_help_of_commands(capsys, monkeypatch, name):
    """Each command has a description in 80 columns, and examples if it takes options."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main([name, "--help"]) == 0
    output = capsys.readouterr().out
    assert output.startswith(f"usage: fastsm {name}")
    assert max(map(len, output.splitlines())) <= 80
    assert "%%" not in output
    assert "examples:" in output or name == "demo"


def test_version():
    """The version is that of the package."""
    assert succeed("--version") == f"fastsm {fastsm.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("bogus", "there is no command 'bogus' (see fastsm --help)"),
        ("trian", "there is no command 'trian': did you mean 'train'?"),
        ("train --bogus", "unrecognized arguments: --bogus"),
        ("train --epoch 1", "unrecognized arguments: --epoch 1: did you mean '--epochs'?"),
        ("train --hiden=8", "did you mean '--hidden'?"),
        ("train digits", "unrecognized arguments: digits: did you mean --data digits?"),
        ("train --lr", "--lr: expected one argument"),
        ("train --lr x", "--lr must be a number above 0, got 'x'"),
        ("train --lr 0", "--lr must be a number above 0, got '0'"),
        ("train --lr nan", "--lr must be a number above 0, got 'nan'"),
        ("train --lr inf", "--lr must be a number above 0, got 'inf'"),
        ("train --dropout 1", "--dropout must be a number of at least 0 and below 1"),
        ("train --epochs 0", "--epochs must be an integer of at least 1"),
        ("train --epochs 1.5", "--epochs must be an integer of at least 1"),
        ("train --epochs 99999999999999999999", "an integer of at most 9223372036854775807, got '99999999"),
        (f"train --seed {'9' * 5000}", "9999... (5002 characters)"),
        (f"train --seed {'x' * 5000}", "xxxx... (5002 characters)"),
        (f"train --hidden 1,{10**30}", "--hidden must be sizes"),
        ("train --config .", "--config must be a regular file, got '.'"),
        ("train --hidden 3,x", "--hidden must be sizes as 512,512, or none"),
        ("train --hidden 0", "--hidden must be sizes"),
        ("train --activation rleu", "got 'rleu': did you mean 'relu'?"),
        ("train --loss brier --label-smoothing 0.1", "--label-smoothing works with"),
        ("train --loss mse --class-weight balanced", "--class-weight balanced works with"),
        ("train --val-split 0 --early-stop 3", "--early-stop needs validation data"),
        ("train --val-split 0.9999", "leaves no row"),
        ("train --optimizer sgd --momentum 1", "--momentum must be"),
        ("train --resume nothing", "--resume must be the folder of a run"),
        ("train --resume x --config y", "leave out --config"),
        ("train --config nothing.toml", "--config must be a file that can be read"),
        ("evaluate", "required: MODEL"),
        ("predict model", "required: INPUT"),
        ("predict model x --top 0", "--top must be an integer of at least 1"),
    ],
)
def test_usage(capsys, monkeypatch, tmp_path, arguments, message):
    """Wrong usage gives exit code 2 and one line; nothing is written."""
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("lr = 'fast'", "`lr` in c.toml must be a number above 0"),
        ("epochs = true", "`epochs` in c.toml must be an integer"),
        ("epochs = 2.0", "`epochs` in c.toml must be an integer"),
        ("layer-norm = 2", "`layer-norm` in c.toml must be true or false"),
        ("hidden = [1, 'x', {}]", "`hidden` in c.toml must be sizes"),
        ("batchsize = 3", "'batchsize', which is not an option: did you mean 'batch-size'?"),
        ("batch-size = 3\nbatch_size = 3", "c.toml has both `batch-size` and `batch_size`: leave one out"),
        ("lr = ", "--config must be a file in TOML"),
        ("lr = " + "[" * 100_000, "--config must be a file in TOML"),
        ("data = ''", "`data` in c.toml must be a string"),
        ("[train]\nlr = 1", "c.toml has 'train', which is not an option"),
    ],
)
def test_wrong_files(capsys, monkeypatch, tmp_path, content, message):
    """Faults of a configuration file are named."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.toml").write_text(content)
    assert main(["train", "--config", "c.toml"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_pipe_instead_of_a_file(tmp_path):
    """A pipe that is never written to is refused, not waited for."""
    os.mkfifo(tmp_path / "pipe")
    assert "must be a regular file" in fail(2, "train", "--config", tmp_path / "pipe")


def test_wrong_variables(tmp_path):
    """Faults of a variable are named; empty variables are ignored."""
    line = fail(2, "train", cwd=tmp_path, FASTSM_EPOCHS="many", FASTSM_LR="")
    assert line.endswith("FASTSM_EPOCHS must be an integer of at least 1, got 'many'")


def test_failures(tmp_path):
    """Unwritable files and too little memory give exit code 1."""
    (tmp_path / "fastsm-runs").write_text("in the way")
    fail(1, "train", "--epochs", 1, cwd=tmp_path)
    assert "not enough memory" in fail(1, "train", "--hidden", 10**13, "--out", tmp_path / "run")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["info", "--help", "train --help", "--version"])
def test_full_output(words, unbuffered):
    """A full disk gives one line, after help too."""
    variables = environment(PYTHONUNBUFFERED=unbuffered)
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            command(*words.split()),
            env=variables,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)


def test_closed_output():
    """A closed pipe gives no line."""
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run(
        command("info"), env=environment(), stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert (result.returncode, result.stderr) == (1, "")


def on_terminal(*arguments, **variables):
    """Run the command with all output on a terminal; return (exit code, output)."""
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (25, 100))
    process = subprocess.Popen(
        command(*arguments), env=environment(**variables), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # Linux raises at the end
            break
        if not part:
            break
        parts.append(part)
    os.close(ours)
    return process.wait(timeout=60), b"".join(parts).decode()


def test_terminal(tmp_path):
    """Terminals get progress and color, but no color with NO_COLOR and no progress with --quiet."""
    options = ("train", "--epochs", 2, "--hidden", 8, "--no-plots", "--out")
    code, output = on_terminal(*options, tmp_path / "a", TERM="xterm")
    assert (code, "\repoch 2/2 " in output or not find_spec("tqdm"), "\033[1m" in output) == (0, True, True)
    code, output = on_terminal(*options, tmp_path / "b", "--quiet", TERM="xterm", NO_COLOR="1")
    assert (code, "epoch " in output.split("\n", 1)[1], "\033" in output) == (0, False, False)
    assert output.startswith("test accuracy ")
    code, output = on_terminal("train", "--lr", "x", TERM="xterm")
    assert (code, "\033[31merror\033[0m" in output) == (2, True)


def test_demo():
    """The demo shows a gradient check, a training and the speed."""
    code, output, errors = run("demo")
    assert (code, errors.splitlines()[0].split()[0]) == (0, "epoch")
    assert "accuracy 9" in output
    assert "times as fast" in output
