"""Adam with the rates of a recipe: over time, and over the network's depth."""

from typing import Any

import keras

from train.fit.model import HEAD_BLOCK, block_of
from train.fit.recipe import FitRecipe


@keras.saving.register_keras_serializable("leukoscope")
class LayerwiseAdam(keras.optimizers.Adam):  # type: ignore[misc]
    """Adam whose rate shrinks from the head down to the first layer.

    What is pre-trained changes the less the more general it is (Howard & Ruder 2018).

    Args:
        layer_decay: the rate of a block is that of the block above it times this.
    """

    def __init__(self, *args: Any, layer_decay: float = 1.0, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.layer_decay = layer_decay

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One variable's step, at its block's own rate."""
        # Some backends hand over their own variable, which does not know its layer: Keras' index does.
        path = self._trainable_variables[self._get_variable_index(variable)].path
        factor = self.layer_decay ** (HEAD_BLOCK - block_of(path))
        super().update_step(gradient, variable, learning_rate * factor)

    def finalize_variable_values(self, var_list: Any) -> None:
        """Put the running means in the weights' place, as copies: a JAX step takes no array twice."""
        super().finalize_variable_values(var_list)
        if self.use_ema:
            for variable in var_list:
                variable.assign(keras.ops.copy(variable))

    def get_config(self) -> dict[str, Any]:
        """What a saved model needs to make this again."""
        return {**super().get_config(), "layer_decay": self.layer_decay}


def build(fit: FitRecipe, steps_per_epoch: int) -> LayerwiseAdam:
    """The optimizer of a recipe.

    A cosine schedule counts the optimizer's own steps, so that a resumed training is at the right place.
    """
    rate: Any = fit.learning_rate
    if fit.schedule == "cosine":
        warmup = round(fit.warmup_epochs * steps_per_epoch)
        rate = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=fit.learning_rate_floor if warmup else fit.learning_rate,
            decay_steps=max(1, fit.epochs * steps_per_epoch - warmup),
            alpha=fit.learning_rate_floor / fit.learning_rate,
            warmup_target=fit.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    return LayerwiseAdam(
        rate,
        layer_decay=fit.layer_decay,
        weight_decay=fit.weight_decay or None,
        use_ema=fit.ema_decay > 0,
        ema_momentum=fit.ema_decay,
    )
