"""requirements-lowest.txt holds exactly the lowest versions that requirements-infer.txt allows."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEST_TOOLS = {"pytest", "hypothesis"}
# Packages whose lowest version has no wheel for every Python; the range allows more than the pin tests.
WHEELS_DIFFER = {"numpy"}


def requirements(name: str) -> list[tuple[str, str, str]]:
    """(package, version, condition) of each line with `==` or `>=`; conditions are without spaces."""
    found = []
    for line in (ROOT / name).read_text().splitlines():
        line = line.partition("#")[0].replace(" ", "")
        if line and not line.startswith("-r"):
            requirement, _, condition = line.partition(";")
            package, version = re.split("==|>=", requirement)
            found.append((package.lower(), version, condition))
    return found


def release(version: str) -> list[int]:
    numbers = [int(number) for number in version.split(".")]
    return numbers + [0] * (3 - len(numbers))


def test_every_package_of_inference_is_tested_at_its_lowest_version():
    allowed = [entry for entry in requirements("requirements-infer.txt") if entry[0] not in WHEELS_DIFFER]
    tested = {
        (package, condition): version
        for package, version, condition in requirements("requirements-lowest.txt")
    }
    for package, version, condition in allowed:
        assert release(tested.pop((package, condition))) == release(version), package
    assert {package for package, _ in tested} == TEST_TOOLS | WHEELS_DIFFER


def test_the_lowest_version_of_a_package_with_missing_wheels_is_that_of_most_pythons():
    allowed = {package: version for package, version, _ in requirements("requirements-infer.txt")}
    for name in WHEELS_DIFFER:
        versions = [
            version for package, version, _ in requirements("requirements-lowest.txt") if package == name
        ]
        assert min(map(release, versions)) == release(allowed[name])


@pytest.mark.parametrize("name", ["requirements-infer.txt", "requirements-lowest.txt"])
def test_every_requirement_has_a_version(name):
    assert all(version for _, version, _ in requirements(name)) and len(requirements(name)) >= 9


def files_read(name: str) -> set[str]:
    """A requirements file, and those that it reads (-r)."""
    lines = (ROOT / name).read_text().splitlines()
    return {name}.union(*(files_read(line.split()[1]) for line in lines if line.startswith("-r ")))


def test_make_installs_again_when_a_file_that_pip_reads_has_changed():
    makefile = (ROOT / "Makefile").read_text()
    studio = re.search(r"^define INSTALL_STUDIO\n(.*?)^endef", makefile, re.DOTALL | re.MULTILINE)[1]
    rules = dict(
        re.findall(r"^(\.venv\S*): (.*\n(?:\t.*\n)+)", makefile.replace("$(INSTALL_STUDIO)", studio), re.M)
    )

    def prerequisites(target: str) -> set[str]:
        direct = set(rules[target].splitlines()[0].split())
        return direct.union(*(prerequisites(name) for name in direct & rules.keys()))

    installing = {
        target: set(re.findall(r"-r (\S+)", rule)) for target, rule in rules.items() if " -r " in rule
    }
    assert len(installing) >= 6
    for target, names in installing.items():
        assert set().union(*map(files_read, names)) <= prerequisites(target), target


def test_the_wheel_is_built_without_the_packages_of_the_tests():
    makefile = (ROOT / "Makefile").read_text()
    assert (
        "\nwheel: .venv/.build\n" in makefile and "hatchling" in (ROOT / "requirements-dev.txt").read_text()
    )
    assert ".venv/.dev" not in re.search(r"^\.venv/\.build:.*", makefile, re.MULTILINE)[0]
