"""The count of instructions, without valgrind: how its profiles are read, and what is held against what."""

import pytest

PROFILE = """\
# callgrind format
positions: line
events: Ir
summary: 5000

ob=/lib/libpython3.so
fl=ceval.c
fn=_PyEval_EvalFrameDefault
10 700
cob=/site-packages/fastsm/_kernels/avx2/kernels.abi3.so
cfn=0x1000
calls=20 0
11 4000

ob=/site-packages/fastsm/_kernels/avx2/kernels.abi3.so
fl=???
fn=0x1000
0 2800
cob=/lib/libc.so.6
cfn=free
calls=20 3350
0 300
0 200

fn=0x2000
0 500

ob=/lib/libc.so.6
fn=free
3350 300
totals: 5000
"""
FOUND = {"softmax": 1000}


@pytest.fixture
def instructions(suite):
    return suite("instructions")


def test_only_what_is_in_kernels_counts(instructions):
    assert instructions.inside_kernels(PROFILE) == 2800 + 200 + 500
    assert instructions.inside_kernels(PROFILE.replace("kernels.abi3", "others")) == 0


@pytest.mark.parametrize(
    ("stored", "well", "word"),
    [
        ({"softmax": 1000}, True, "+0.0 %"),
        ({"softmax": 980}, True, "+2.0 %"),
        ({"softmax": 950}, False, "MORE"),
        ({"softmax": 1100}, True, "fewer: --update stores them"),
        ({"other": 1}, False, "NOT STORED"),
        ({}, True, "nothing is stored for this compiler"),
    ],
)
def test_more_than_is_stored_is_a_failure(instructions, capsys, stored, well, word):
    assert instructions.report("x86_64 avx2, GCC 12", FOUND, stored, 3.0) is well
    assert word in capsys.readouterr().out


def test_without_valgrind_a_line_says_so(instructions, capsys, monkeypatch):
    monkeypatch.setattr(instructions.shutil, "which", lambda name: None)
    assert instructions.main([]) == 0
    assert capsys.readouterr().out == "valgrind is not there: no instructions counted\n"


def test_all_kernels_run(instructions):
    kernels = instructions.kernels()
    assert len(kernels) >= 10
    for call in kernels.values():
        call()


def test_stored_counts_are_of_these_kernels(instructions):
    stored = instructions.json.loads(instructions.STORED.read_text())
    assert any("GCC" in name for name in stored)
    assert any("Clang" in name for name in stored)
    for name, calls in stored.items():
        assert calls.keys() <= instructions.kernels().keys()
        assert calls.keys() == instructions.kernels().keys() or "GCC 12" not in name


def test_the_compiler_is_known(instructions):
    # From the file of the kernels; "unknown" where a compiler leaves no trace, or the file was stripped.
    assert instructions.compiler("baseline").partition(" ")[0] in ("GCC", "Clang", "unknown")
