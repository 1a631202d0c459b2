"""Requirements: texts and files of them, and what of them this environment meets."""

from __future__ import annotations

from pathlib import Path

import pytest
from wheels import write_wheel

from grandpa_kfp_runtime.code.requirements import read_file, read_index_url, read_requirement, unmet


def test_one_spelling_for_one_requirement() -> None:
    """Spaces and the order of bounds and hashes mean nothing."""
    first, second = f"--hash=sha256:{'a' * 64}", f"--hash=sha256:{'b' * 64}"
    one = read_requirement(f"numpy <2, >=1.26 ; python_version < '4' {second}  {first}")
    assert one == read_requirement(f'numpy>=1.26,<2;python_version<"4" {first} {second}')
    assert read_requirement("tool[all] @ https://${TOKEN}@host/tool.whl").endswith("@ https://${TOKEN}@host/tool.whl")


def test_a_file_with_all_that_files_have(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "more.txt").write_text("attrs\nnumpy==1.26.4\n")
    (tmp_path / "all.txt").write_text(
        "# what training needs\n\n"
        "numpy==1.26.4   # pinned\n"
        "scipy==1.14.1 \\\n"
        f"    --hash=sha256:{'0' * 64} \\\n"
        f"    --hash=sha256:{'1' * 64}  # two builds\n"
        "-r deep/more.txt\n"
        "--requirement=deep/more.txt\n"
        'tomli; python_version < "3.11"\n'
    )
    assert read_file(tmp_path / "all.txt") == (
        "attrs",
        "numpy==1.26.4",
        f"scipy==1.14.1 --hash=sha256:{'0' * 64} --hash=sha256:{'1' * 64}",
        'tomli; python_version < "3.11"',
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("numpy\nnumpy=1\n", r"all\.txt:2: 'numpy=1' is no requirement"),
        ("-e .\n", r"all\.txt:1: -e is not understood here"),
        (
            "--index-url https://ann:secret22@host/\n",
            r"all\.txt:1: --index-url is not understood here: write index_url=",
        ),
        ("./local.whl\n", r"all\.txt:1: '\./local\.whl' is no requirement"),
        ("a @ https://ann:secret22@host/a.whl\n", r"all\.txt:1: a comes from an address with a password"),
        ("numpy\n-r none.txt\n", r"none\.txt cannot be read: No such file"),
        ("-r all.txt\n", r"all\.txt → all\.txt: the files include each other"),
        ("caf\udce9\n", r"all\.txt is no text in UTF-8"),
    ],
)
def test_what_cannot_be_taken_is_told_with_its_line(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "all.txt").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=told) as caught:
        read_file(tmp_path / "all.txt")
    assert "secret22" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://host/simple", "http://ann:${P}@host/simple", "https://${TOKEN}@host", "file:///w"]
)
def test_addresses_without_secrets_in_clear_are_taken(url: str) -> None:
    assert read_index_url(url) == url


@pytest.mark.parametrize(
    "url",
    ["host/simple", "ftp://host", "https://", "https://a b/", "https://a:b@host", "https://token@host", "http://[x"],
)
def test_others_are_not(url: str) -> None:
    with pytest.raises(ValueError, match=r"^(must be an address|is no address|holds)"):
        read_index_url(url)


def test_what_is_met_is_what_pip_would_leave_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what a distribution needs itself, extras too; markers that do not hold ask for nothing."""
    import zipfile

    for name, requires in {
        "whole": ("click>=1", 'missing; extra == "all"', 'missing; python_version < "3"'),
        "broken": ("missing>=2",),
        "circle": ("circle", "whole"),
    }.items():
        with zipfile.ZipFile(
            write_wheel(tmp_path / "w", name, "1.5rc1", {f"{name}.py": ""}, requires=requires)
        ) as wheel:
            wheel.extractall(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    asked = ["whole>=1.5rc1", "whole>1", "whole==2", "whole[all]", "broken", "circle", "none; python_version < '3'",
             "Whole<2", "whole @ https://host/whole.whl"]  # fmt: skip
    assert [item.requirement for item in unmet(asked)] == ["whole==2", "whole[all]", "broken", asked[-1]]
    assert [(item.name, item.version) for item in unmet(["whole==2", "none"])] == [("whole", "1.5rc1"), ("none", "")]
    assert [item.requirement for item in unmet(["broken"], deep=False)] == []
