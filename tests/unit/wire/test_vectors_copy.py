from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_tests_use_the_vectors_that_the_protocols_document() -> None:
    """Two copies that drift apart would let a wrong signature pass for the documented one."""
    documented = (ROOT / "docs" / "protocols" / "vectors.json").read_bytes()
    assert (ROOT / "tests" / "vectors.json").read_bytes() == documented
