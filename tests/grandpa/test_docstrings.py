"""Docstrings: the description, and one for each parameter, in three ways of writing."""

from __future__ import annotations

import pytest

from grandpa_kfp.authoring.docstrings import Docstring, parse_docstring

GOOGLE = """Trains a model.

    On data.

    Args:
        epochs (int, optional): how often
            everything is seen
        rate: the rate: small
        **options: more

    Returns:
        model: the model
    """
NUMPY = """Trains a model.

    On data.

    Parameters
    ----------
    epochs : int, optional
        how often
        everything is seen
    rate
        the rate: small
    **options
        more

    Returns
    -------
    model
        the model
    """
SPHINX = """Trains a model.

    On data.

    :param int epochs: how often
        everything is seen
    :param rate: the rate: small
    :param options: more
    :type rate: float
    :returns: the model
    """


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_parameters_and_description(text):
    """The same in each way of writing; what is returned is no parameter."""
    assert parse_docstring(text) == Docstring(
        "Trains a model.\n\nOn data.",
        {"epochs": "how often everything is seen", "rate": "the rate: small", "options": "more"},
    )


@pytest.mark.parametrize("text", [None, "", "   "])
def test_no_docstring(text):
    """Nothing is described."""
    assert parse_docstring(text) == Docstring()


def test_a_text_without_sections():
    """Is the description, its lines kept; a colon alone makes no section."""
    text = "Sums up: all.\n\nNote: fast\n    indented"
    assert parse_docstring(text) == Docstring(text)
