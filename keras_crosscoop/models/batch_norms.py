"""The batch normalisation of a model: its layers, and what happens to their moving statistics."""

import keras


def batch_norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """All such layers of a model, those of models inside it first."""
    nested = [norm for layer in model.layers if isinstance(layer, keras.Model) for norm in batch_norms(layer)]
    return nested + [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def update_ema_statistics(model: keras.Model) -> None:
    """Has a compiled model's optimizer, if it can, average the moving statistics that go with the weights."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # of the one that scales losses
    if keras.backend.backend() == "tensorflow" and hasattr(optimizer, "update_ema_statistics"):
        changing = [norm for norm in batch_norms(model) if norm.trainable]
        optimizer.update_ema_statistics([each for n in changing for each in (n.moving_mean, n.moving_variance)])
