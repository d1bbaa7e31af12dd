"""The modules: metrics, losses and predictions."""

from typing import Any

import pytest
import torch

pytestmark = [  # a warning is an error, but those of Lightning's own making
    pytest.mark.filterwarnings("error"),
    pytest.mark.filterwarnings(
        "ignore:(?s).*(JsonargparseDeprecation|was deprecated in v4):DeprecationWarning"
    ),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The .srun. command is available:UserWarning"),
]


def batch(images: torch.Tensor, *targets: float) -> tuple[torch.Tensor, torch.Tensor]:
    return images, torch.tensor(targets)


def regression(zoo: Any, outputs: int = 1, mean: float = 0, std: float = 1) -> Any:
    """Return a module whose network gives its inputs, for targets of this mean and standard deviation."""
    module_class = zoo("modules.regression", "RegressionModule")
    module = module_class(lambda num_outputs, input_shape: torch.nn.Identity(), outputs, (outputs,))
    module.target_mean.fill_(mean)
    module.target_std.fill_(std)
    return module


def evaluate(module: Any, *batches: tuple[torch.Tensor, torch.Tensor]) -> dict[str, float]:
    """Return the metrics of these batches, as validation computes them."""
    for index, one in enumerate(batches):
        module.validation_step(one, index)
    return {
        name: float(metric.compute()) for name, metric in module.val_metrics.items(keep_base=True)
    }


def test_the_metrics_of_a_regression_are_those_of_all_samples_together(zoo: Any) -> None:
    torch.manual_seed(0)
    targets, errors = torch.randn(50), torch.randn(50)
    inputs = (targets + errors)[:, None]
    module = regression(zoo, mean=1.0, std=2.0)
    found = evaluate(
        module, ((inputs[:45] - 1) / 2, targets[:45]), ((inputs[45:] - 1) / 2, targets[45:])
    )
    expected = {
        "loss": errors.square().mean() / 4,
        "mae": errors.abs().mean(),
        "rmse": errors.square().mean().sqrt(),
        "r2": 1 - errors.square().sum() / (targets - targets.mean()).square().sum(),
    }
    assert found == pytest.approx(
        {name: float(value) for name, value in expected.items()}, rel=1e-4
    )


def test_a_regression_takes_targets_of_any_number_type_with_and_without_a_second_dimension(
    zoo: Any,
) -> None:
    module, inputs = regression(zoo), torch.tensor([[1.0], [3.0], [5.0]])
    for dtype in (torch.float32, torch.float64, torch.int64, torch.uint8):
        targets = torch.tensor([1, 2, 3], dtype=dtype)
        for given in (targets, targets[:, None]):
            module.val_metrics.reset()
            found = evaluate(module, (inputs, given))
            assert found == pytest.approx(
                {"loss": 5 / 3, "mae": 1, "rmse": (5 / 3) ** 0.5, "r2": -1.5}
            )
    several = regression(zoo, outputs=2)
    assert (
        evaluate(several, (torch.tensor([[1.0, 2], [3, 4]]), torch.tensor([[1, 3], [3, 5]])))["mae"]
        == 0.5
    )


def test_r2_is_right_far_from_zero(zoo: Any) -> None:
    torch.manual_seed(0)
    years = 2000 + torch.randn(100_000)
    module = regression(zoo, mean=2000.0, std=1.0)
    predicted = (years - 2000 + 0.5 * torch.randn(len(years)))[:, None]
    found = evaluate(module, *zip(predicted.chunk(1500), years.chunk(1500), strict=True))
    assert found["r2"] == pytest.approx(0.75, abs=0.01)


def test_predictions_are_in_the_units_of_the_targets(zoo: Any) -> None:
    module = regression(zoo, mean=2000.0, std=10.0)
    found = module.predict_step(batch(torch.tensor([[-1.0], [0.5]])), 0)
    assert found["prediction"].tolist() == [1990, 2005]
    several = regression(zoo, outputs=2).predict_step(batch(torch.ones(3, 2)), 0)
    assert several["prediction"].shape == (3, 2)


def test_the_loss_of_an_autoencoder_is_the_mean_over_samples_and_pixels_and_ignores_labels(
    zoo: Any,
) -> None:
    class Halves(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return images / 2, images.flatten(1)[:, :3]

    module = zoo("modules.autoencoder", "AutoencoderModule")(
        lambda input_shape: Halves(), (1, 4, 4)
    )
    images = torch.randn(7, 1, 4, 4)
    module.validation_step(batch(images[:5], 1, 2), 0)
    module.validation_step(batch(images[5:]), 1)
    assert float(module.val_loss.compute()) == pytest.approx(
        float(images.square().mean()) / 4, rel=1e-5
    )
    found = module.predict_step(batch(images), 0)
    assert found.keys() == {"error", "latent"} and found["latent"].shape == (7, 3)
    torch.testing.assert_close(found["error"], images.square().mean((1, 2, 3)) / 4)
