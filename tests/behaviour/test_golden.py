"""The generator of golden bits tells configurations apart, and gives each the same digest again."""

import importlib.util
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("golden", Path(__file__).with_name("golden.py"))
golden = importlib.util.module_from_spec(spec)
spec.loader.exec_module(golden)
CONFIGURATIONS = golden.configurations()


def test_there_are_sixty_configurations_and_more():
    assert len(CONFIGURATIONS) >= 60


@pytest.mark.long
def test_each_configuration_has_bits_of_its_own_and_the_same_with_two_threads():
    digests = {name: golden.digest(**row) for name, row in CONFIGURATIONS.items()}
    assert len(set(digests.values())) == len(digests)
    for name, row in CONFIGURATIONS.items():
        assert golden.digest(**{**row, "n_threads": 2}) == digests[name], name
