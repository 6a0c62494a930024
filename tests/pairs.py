"""Models of any output with any loss, also those that `Model` refuses: a file from before the refusal may hold one."""

import dataclasses

from fastbp import Model


def model_with(output, *arguments, **options):
    """Model(*arguments, output=output, **options) without the check that the output fits the loss."""
    model = Model(*arguments, **options)
    model.network = dataclasses.replace(model.network, output=output)
    return model
